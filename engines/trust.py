"""Reading files that will be trusted: what they seem to be, where they seem to be, and nobody
else's to write.

A plan is machine code, and a graph decides what a camera sees; their hashes stand in a manifest
beside them. So whoever can write to a bundle's folder can make it say anything, and a bundle that
every user of the machine can write to is refused.
"""

from __future__ import annotations

import errno
import os
import shlex
import stat
from pathlib import Path

from engines.failures import Refused

LARGEST = 2 << 30  # bytes of one file: protobuf's limit, and so an ONNX file's
MANIFEST = 16 << 20  # bytes of a manifest: a hundred thousand files
CHECKS_MODES = os.name == "posix"  # Windows' access lists are not in st_mode
# Not through a symbolic link; and opening a FIFO must not wait for somebody to write to it.
FLAGS = os.O_RDONLY | sum(
    getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY")
)


def read_trusted(root: Path, name: str, size: int | None = None, limit: int = LARGEST) -> bytes:
    """The content of the file `name` below `root`, checked before it is read.

    Raises:
        Refused: It cannot be read, lies outside `root` or behind a symbolic link, is no regular
            file, has another size than `size` or is above `limit`, or every user may write to it
            or to a folder on the way.
    """
    path = _inside(root, name)
    _check_folders(root, path)
    try:
        with open(path, "rb", opener=lambda name, _: os.open(name, FLAGS)) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise Refused(f"{path} is no regular file: build the bundle again")
            _check_mode(root, path, status.st_mode)
            _check_size(path, status.st_size, size, limit)
            return file.read(status.st_size)
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise _unreadable(path, error) from None


def withdraw(root: Path) -> None:
    """Take the write permission of every user from what this process has just made below `root`.

    Under a umask of 0, as in some containers, a build would make a bundle that is refused.
    """
    if CHECKS_MODES:
        for path in root.rglob("*"):
            path.chmod(path.stat().st_mode & ~stat.S_IWOTH)


def _inside(root: Path, name: str) -> Path:
    """The file's path; links are told apart later."""
    below = Path(name)
    if not below.parts or ".." in below.parts or below.anchor:
        raise Refused(f"{root}: the manifest names a file outside the bundle, {name!r}")
    return root / below


def _check_folders(root: Path, path: Path) -> None:
    """`root` itself may be a link, as artifacts/current; what is in it may not."""
    folder = path.parent
    try:
        while folder != root:
            status = folder.lstat()
            if stat.S_ISLNK(status.st_mode):
                raise _link(folder)
            _check_mode(root, folder, status.st_mode)
            folder = folder.parent
        _check_mode(root, root, root.stat().st_mode)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None


def _check_mode(root: Path, path: Path, mode: int) -> None:
    if CHECKS_MODES and mode & stat.S_IWOTH:
        raise Refused(
            f"{path} can be written by every user of this machine, so it may not be what was "
            f"built: chmod -R o-w {shlex.quote(str(root))} if you trust what is in it (on a disk "
            "without permissions, copy it to one that has them)"
        )


def _check_size(path: Path, size: int, expected: int | None, limit: int) -> None:
    if expected is not None and size != expected:
        raise Refused(
            f"{path} is not the file that was built: it has {size} bytes, the manifest says "
            f"{expected}; it was cut off or exchanged, build the bundle again"
        )
    if size > limit:
        raise Refused(f"{path} has {size} bytes, more than the {limit} that are read")


def _unreadable(path: Path, error: OSError | ValueError) -> Refused:
    if isinstance(error, OSError) and error.errno == errno.ELOOP:
        return _link(path)
    reason = error.strerror if isinstance(error, OSError) else error
    return Refused(f"{path} cannot be read ({reason}): build the bundle again")


def _link(path: Path) -> Refused:
    return Refused(
        f"{path} is a symbolic link, which may lead out of the bundle: put the file itself there, "
        "or build the bundle again"
    )
