"""`--config FILE`: a TOML file whose keys are the flags; a flag that is also typed wins."""

from __future__ import annotations

import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

from engines.command import HouseParser
from engines.failures import UsageError, hint

if sys.version_info >= (3, 11):
    import tomllib
else:  # JetPack 6
    import tomli as tomllib


def with_config(argv: list[str], known: Collection[str]) -> list[str]:
    """The command line with the flags that its `--config` file stands for put in front.

    `known` are the flags' names without dashes, `crf-budget`. So a value from a file goes through
    the very checks that a typed one does. What is typed, too, is left out: of flags that may be
    repeated, argparse would take both.
    """
    parser = HouseParser(add_help=False)
    parser.add_argument("--config", type=Path)
    path = parser.parse_known_args(argv)[0].config
    if path is None:
        return argv
    return [*flags(path, known, {name for name in known if _typed(name, argv, known)}), *argv]


def flags(path: Path, known: Collection[str], without: Collection[str] = ()) -> list[str]:
    """A file's settings, but those of the names `without`, as the words one would type."""
    words = []
    for key, value in _read(path).items():
        name = key.replace("_", "-")
        if name not in known:
            raise UsageError(f"{path}: no setting {key!r}: {hint(name, known)}")
        found = _words(path, name, value)
        words += [] if name in without else found
    return words


def _typed(name: str, argv: list[str], known: Collection[str]) -> bool:
    """Whether a flag is on the command line, be it in argparse's short form, `--cam` for camera."""
    for word in argv:
        flag = word.partition("=")[0].removeprefix("--").removeprefix("no-")
        short = flag not in known and name.startswith(flag)
        if word.startswith("--") and flag and (flag == name or short):
            return True
    return False


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise UsageError(f"--config {path}: {error.strerror}; name a TOML file") from None
    except (ValueError, RecursionError) as error:  # numbers or lists beyond what Python reads, too
        raise UsageError(f"{path} is not valid TOML: {error}") from None


def _words(path: Path, name: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [f"--{name}" if value else f"--no-{name}"]
    if isinstance(value, list):
        return [word for item in value for word in _words(path, name, item)]
    if isinstance(value, str | float) or (isinstance(value, int) and abs(value) < 2**63):
        return [f"--{name}={value}"]
    kind = type(value).__name__
    raise UsageError(
        f"{path}: {name} is a {kind} that no flag takes; give it text, a number, true or false"
    )
