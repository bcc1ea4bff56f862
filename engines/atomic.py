"""Files and folders that appear whole or not at all: write beside the target, then rename."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engines.failures import UsageError

DEVICES = ("/", "dev")


def check_writable(path: Path | None) -> None:
    """Refuse now what `replacing` could not write after the work: raises `UsageError`."""
    if path is None or _is_special(path):
        return
    if path.is_dir():
        raise UsageError(f"{path} is a folder: give the name of a file")
    folder = next(folder for folder in path.absolute().parents if folder.exists())
    if not folder.is_dir():
        raise UsageError(f"{path} cannot be written: {folder} is a file")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"{path} cannot be written: no permission for {folder}")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success rename it over `path`, else remove it.

    A device or a pipe is written to itself: root would put a file in the place of /dev/null.
    """
    if _is_special(path):
        yield path
        return
    _make(path.parent)
    try:
        handle, name = tempfile.mkstemp(
            prefix=f".{path.stem[:40]}-", suffix=path.suffix, dir=path.parent
        )
    except OSError as error:
        raise _named(error, path) from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(
            0o644
        )  # mkstemp makes 0600: unreadable for the service that runs the stream
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and str(error.filename) == name:
            raise _named(error, path) from error
        raise


def _is_special(path: Path) -> bool:
    """Whether a path is no file that may be replaced; /dev/stdout may lead to a plain file."""
    return path.exists() and not path.is_dir() and (not path.is_file() or path.parts[:2] == DEVICES)


def _named(error: OSError, path: Path) -> OSError:
    """The same error, of the file that people know instead of the hidden one beside it."""
    return OSError(error.errno, error.strerror, str(path))


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` atomically, as UTF-8."""
    write_bytes(path, text.encode())


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside `path`; on success it takes the place of `path`, or of what
    `path` is a symbolic link to.

    An old folder is moved aside first and removed last, when the new one is on the disk. So an
    interruption at any moment leaves either the old or the new one complete under `path`, or, if
    the process is killed between two renames, the old one beside it.
    """
    path = path.resolve()
    _make(path.parent)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name[:40]}-", dir=path.parent))
    old = temporary.with_name(temporary.name + ".old")
    try:
        yield temporary
        temporary.chmod(0o755)
        for written in (*temporary.rglob("*"), temporary):
            _flush(written)
        if path.exists():
            path.rename(old)
        temporary.rename(path)
        _flush(path.parent)
        shutil.rmtree(old, ignore_errors=True)
    except BaseException:
        if old.exists() and not path.exists():
            old.rename(path)
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _flush(path: Path) -> None:
    """Wait until a file or folder is on the disk: else a power cut soon after a build leaves the
    new names with empty files, and the old ones gone."""
    if os.name == "posix":  # Windows opens no folders
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        except OSError:
            if not path.is_dir():  # some network disks flush no folders
                raise
        finally:
            os.close(descriptor)


def _make(folder: Path) -> None:
    """Make a folder and those above it, which not every user may write to, whatever the umask:
    `engines.trust` refuses what is in such a folder."""
    for missing in reversed([path for path in (folder, *folder.parents) if not path.exists()]):
        missing.mkdir(mode=0o775, exist_ok=True)
