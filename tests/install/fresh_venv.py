"""A virtual environment that is made for one trial: what pip said, how big it is, what runs."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

SECONDS = 1200  # a command that takes longer hangs
TOLD = 300  # characters of a failure's last line that are kept


@dataclass(frozen=True)
class Done:
    """A command that was run: its words, how it ended, how long it took."""

    command: str
    code: int
    seconds: float
    said: str  # the last line, of a failure alone


@dataclass(frozen=True)
class FreshVenv:
    """An environment in `folder`, and an empty folder to run commands in."""

    folder: Path
    empty_bytes: int

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    @property
    def work(self) -> Path:
        """Where its commands run: nothing of the checkout is there."""
        return self.folder.parent / "work"

    def pip(self, *words: str) -> Done:
        """Run this environment's own pip, of the version that its Python brings."""
        return self.run("-m", "pip", "--disable-pip-version-check", *words)

    def run(self, *words: str) -> Done:
        """Run this environment's Python with words, without the caller's PYTHONPATH."""
        line = [str(self.python), *words]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        environment["PATH"] = f"{self.python.parent}{os.pathsep}{environment['PATH']}"
        start = time.monotonic()
        done = subprocess.run(
            line, cwd=self.work, env=environment, capture_output=True, text=True,
            timeout=SECONDS, check=False,
        )  # fmt: skip
        seconds = round(time.monotonic() - start, 1)
        said = "" if done.returncode == 0 else _last_line(done.stderr or done.stdout)
        return Done(" ".join(words), done.returncode, seconds, said)

    @property
    def megabytes(self) -> int:
        """What was installed, without the pip and setuptools that every environment has."""
        return round((size(self.folder) - self.empty_bytes) / 1e6)

    def versions(self) -> dict[str, str]:
        """Every distribution that is installed."""
        line = [str(self.python), "-m", "pip", "list", "--format=json"]
        listed = subprocess.run(line, capture_output=True, text=True, check=True).stdout
        return {entry["name"]: entry["version"] for entry in json.loads(listed)}


@contextmanager
def fresh_venv(python: Path) -> Iterator[FreshVenv]:
    """Make an environment of an interpreter; it is deleted at the end: torch's is 5.5 GB."""
    with TemporaryDirectory(prefix="deeplab-install-") as name:
        folder = Path(name, "venv")
        subprocess.run([str(python), "-m", "venv", str(folder)], check=True)
        venv = FreshVenv(folder, size(folder))
        venv.work.mkdir()
        yield venv


def size(folder: Path) -> int:
    """Bytes of the files below a folder; links are not followed."""
    paths = (Path(base, name) for base, _, names in os.walk(folder) for name in names)
    return sum(path.lstat().st_size for path in paths)


def _last_line(text: str) -> str:
    """The line that says why: pip's and Python's come last."""
    lines: Sequence[str] = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip()[:TOLD] if lines else ""
