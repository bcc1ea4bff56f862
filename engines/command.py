"""The one shape of every command: parse -> run -> show, `--json FILE`, and exit codes.

A script is `raise SystemExit(main())` with

    def main(argv: list[str] | None = None) -> int:
        return run_command(argv, parse, run, show)
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import errno
import json
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, Protocol, TypeVar

from engines.atomic import check_writable, write_text
from engines.extras import how_to_get
from engines.failures import DeviceMissing, Failure

INTERRUPTED = 130  # 128 + SIGINT, what a shell reports
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # of a write, which does not know its file's name


class HasJson(Protocol):
    """Every Options dataclass has the path of `--json`, or None."""

    @property
    def json(self) -> Path | None: ...


OptionsT = TypeVar("OptionsT", bound=HasJson)
ResultT = TypeVar("ResultT")


def run_command(
    argv: list[str] | None,
    parse: Callable[[list[str] | None], OptionsT],
    run: Callable[[OptionsT], ResultT],
    show: Callable[[ResultT], None],
) -> int:
    """Parse, run, print, write JSON; return the process's exit code.

    Exceptions with an `exit_code` become one line on stderr and that code, and so do the lack of
    a package that one of our extras brings, a file that the system does not let us read or write,
    and a disk that is full; any other one is a bug and keeps its traceback. A
    result with an `exit_code` attribute (a failed gate) is shown and written first, then its code
    is returned. SIGTERM ends it as Ctrl-C does: what is half-written goes.
    """
    try:
        with _terminable():
            options = parse(argv)
            check_writable(options.json)
            result = run(options)
            show(result)
            if options.json is not None:
                write_text(options.json, json.dumps(as_json(result), indent=1) + "\n")
        return int(getattr(result, "exit_code", 0))
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return INTERRUPTED
    except ModuleNotFoundError as error:
        missing = how_to_get(error.name or "")
        if missing is None:
            raise
        print(f"error: {missing}", file=sys.stderr)
        return DeviceMissing.exit_code
    except OSError as error:
        if error.filename is None and error.errno in FULL:
            print(
                f"error: {error.strerror}: df -h tells which disk is full; make room there, or "
                "write to another one",
                file=sys.stderr,
            )
            return Failure.exit_code
        if error.filename is None:
            raise
        named = printable(f"{error.filename}: {error.strerror}")
        print(
            f"error: {named}: check the path, its permissions and the free space", file=sys.stderr
        )
        return Failure.exit_code
    except Exception as error:
        code = getattr(error, "exit_code", None)
        if not isinstance(code, int):
            raise
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return code


@contextmanager
def _terminable() -> Iterator[None]:
    """Inside the `with`, SIGTERM raises KeyboardInterrupt, unless somebody else handles it."""
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def printable(text: str) -> str:
    """Text that may quote a file's content, without what would steer the terminal."""
    return "".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in text)


def as_json(value: Any) -> Any:
    """Plain JSON data of a result: dataclasses, paths and NumPy scalars are converted; an object
    may bring its own `to_json()`."""
    if hasattr(value, "to_json"):
        return as_json(value.to_json())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return {field.name: as_json(getattr(value, field.name)) for field in fields}
    if isinstance(value, dict):
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        return value.item()
    return value


class HouseHelp(argparse.RawDescriptionHelpFormatter):
    """Ends the help of each flag with its default, so that no text repeats one."""

    def _get_help_string(self, action: argparse.Action) -> str:
        text, value = action.help or "", action.default
        said = "default:" in text or isinstance(value, bool) or value in (None, argparse.SUPPRESS)
        if said or value in ((), [], ""):
            return text
        between = "x" if action.type is height_width else " " if action.nargs else ","
        shown = between.join(map(str, value)) if isinstance(value, tuple | list) else str(value)
        return f"{text} (default: {shown.replace('%', '%%')})"


class HouseParser(argparse.ArgumentParser):
    """Complains in one sentence, as all else does: argparse hides its own behind all flags."""

    def error(self, message: str) -> NoReturn:
        """What is wrong, the flag that was meant, or how the command is typed; exit code 2."""
        what, more = printable(message), "--help lists all flags"
        flags = [word.split("=")[0] for word in message.split() if word.startswith("--")]
        if message.startswith("unrecognized arguments") and flags:
            meant = difflib.get_close_matches(flags[0], self._option_string_actions, n=1)
            what += f": did you mean {meant[0]}?" if meant else ""
        elif "required" in message and self.epilog:
            more = f"{self.epilog}; {more}"
        self.exit(2, f"error: {what} ({more})\n")


def parser(description: str | None, example: str) -> argparse.ArgumentParser:
    """An argument parser in the house style: the module's docstring, one example, `--json`."""
    result = HouseParser(
        description=description,
        epilog=f"example: {example}",
        formatter_class=HouseHelp,
    )
    result.add_argument("--json", type=Path, metavar="FILE", help="also write the result as JSON")
    return result


def height_width(text: str) -> tuple[int, int]:
    """An argparse type: `360x480` -> (360, 480), height first."""
    try:
        height, width = (int(part) for part in text.split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not HEIGHTxWIDTH: expected HxW, e.g. 360x480"
        ) from None
    return height, width


def names(text: str) -> tuple[str, ...]:
    """An argparse type: `exact,fast` -> ("exact", "fast")."""
    return tuple(text.split(","))


def counts(text: str) -> tuple[int, ...]:
    """An argparse type: `1,2` -> (1, 2), for threads and the like."""
    return tuple(int(part) for part in text.split(","))


def numbers(text: str) -> tuple[float, ...]:
    """An argparse type: `0.5,0.75` -> (0.5, 0.75); one number is a list of one."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no list of numbers: expected S,S, e.g. 0.75,1,1.25"
        ) from None
