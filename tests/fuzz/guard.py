"""What an input may lead to: a result, or a failure of one sentence, soon and with little memory.

Nothing may be started, and nothing written outside the test's own folder, whatever a file says.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from engines.command import printable
from engines.failures import Failure
from scenes.dataset import DatasetError

Item = TypeVar("Item")

PATIENCE = 30.0  # s, on a busy machine; what is allowed takes milliseconds
MEMORY = 512 << 10  # KiB, as getrusage counts them, that one call may add to the process's peak
STARTS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "pty.spawn")
CHANGES = {"os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.chmod", "os.link", "os.symlink"}

_folder: list[str] = []  # where writing is allowed, while somebody watches; an audit hook stays
_seen: list[str] = []


def check(call: Callable[[Item], object], item: Item, folder: Path) -> Exception | None:
    """Run `call(item)`; an AssertionError if it does what no input may make it do.

    Returns:
        The failure that it ended with, or None.
    """
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    failure: Exception | None = None
    with _watching(folder), _in_time():
        try:
            call(item)
        except (Failure, DatasetError) as error:
            failure = error
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert not _seen, f"it did {_seen[:3]}"
    assert grown < MEMORY, f"it took {grown >> 10} MiB"
    assert failure is None or str(failure).strip(), "it failed without a word"
    assert "Traceback" not in str(failure), str(failure)
    quoted = "\\n" in repr(item)  # its own line ends
    assert quoted or "\n" not in printable(str(failure)), f"more than a sentence: {failure}"
    return failure


@contextmanager
def _watching(folder: Path) -> Iterator[None]:
    _install()
    _seen.clear()
    _folder.append(str(folder))
    try:
        yield
    finally:
        _folder.pop()


@contextmanager
def _in_time() -> Iterator[None]:
    def late(*_: object) -> None:
        raise AssertionError(f"it takes longer than {PATIENCE:g} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _install(done: list[bool] = []) -> None:  # noqa: B006  one hook for the life of the process
    if not done:
        done.append(True)
        sys.addaudithook(_hear)


def _hear(event: str, details: tuple[Any, ...]) -> None:
    if not _folder:
        return
    if event in STARTS:
        _seen.append(f"{event} {details[:2]!r}")
    elif event == "open":
        path, _, flags = details
        writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if writes and not _allowed(path):
            _seen.append(f"{event} {path!r}")
    elif event in CHANGES and not _allowed(details[0]):
        _seen.append(f"{event} {details[:2]!r}")


def _allowed(path: object) -> bool:
    """The test's folder; and what Python itself keeps of modules that are imported now."""
    if not isinstance(path, str | bytes | os.PathLike):
        return True  # a descriptor that is open already
    name = os.fsdecode(path)
    return name.startswith(_folder[-1]) or "__pycache__" in name or name == os.devnull
