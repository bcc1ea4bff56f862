"""A reader process seen from the stream: frames, or the reason why there are none."""

from __future__ import annotations

import fcntl
import json
import mmap
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from engines.failures import DeviceMissing, SourceFailed
from runtime.source import Image
from runtime.sources.feed import Feed, Lost

START = "import sys; from runtime.sources.reader import main; sys.exit(main(sys.argv))"
COMMAND = (sys.executable, "-c", START)
ROOT = Path(__file__).parents[2]  # what must be on the reader's path to find this package
GRACE = 0.5  # s for a reader to leave its camera, then it is killed
LARGEST = 16384 * 16384  # pixels of a frame
F_ADD_SEALS, F_SEAL_SHRINK = 1033, 2  # linux/fcntl.h; `fcntl` of Python 3.10 has no names for them


@dataclass(frozen=True)
class Opened:
    """What the reader found."""

    text: str  # such as "1280x720 h264 at 25 frames/s"
    rate: float  # frames/s; 0 if the source does not say
    offers: tuple[str, ...]  # other formats it could deliver


@dataclass(frozen=True)
class Received:
    """A frame and the reader's counts up to it."""

    image: Image
    captured: float  # time.monotonic(): the clock is the same in all processes of a machine
    time: float | None  # s, on the source's own clock
    dropped: int
    damaged: int


class Reader(Protocol):
    """One connection to a source; used by one thread, except `interrupt`."""

    def receive(self, timeout: float) -> Opened | Received | None:
        """What comes next; None if nothing does within `timeout` seconds, or it was interrupted.

        `EndOfFeed` at the intended end of a file; `Lost` if the connection is gone, another
        `SourceFailed` or `DeviceMissing` if it will not come back either.
        """
        ...

    def interrupt(self) -> None:
        """From any thread: end a waiting `receive`, now and for good."""
        ...

    def close(self) -> None:
        """Release the device: within `GRACE` seconds, whatever it takes."""
        ...


class ReaderProcess:
    """A process that reads `feed`; see `runtime.sources.reader` for what the two say.

    Args:
        feed: What to read.
        command: The program; a test gives one that misbehaves.
    """

    def __init__(self, feed: Feed, command: Sequence[str] = COMMAND) -> None:
        self._view: mmap.mmap | None = None
        self._asked = self._interrupted = False
        with ExitStack() as undone:
            self._memory = os.memfd_create("frames", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            undone.callback(os.close, self._memory)
            # Were it made smaller, reading the missing part would kill us with SIGBUS.
            fcntl.fcntl(self._memory, F_ADD_SEALS, F_SEAL_SHRINK)
            self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            undone.enter_context(self._control)
            with theirs:
                handles = (theirs.fileno(), self._memory)
                self._process = subprocess.Popen(
                    [*command, *map(str, handles)],
                    pass_fds=handles,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,  # drivers and decoders write what nobody can use
                    env={**os.environ, "PYTHONPATH": _path()},
                    start_new_session=True,  # Ctrl-C is for us; and its children go with it
                )
            undone.pop_all()
        with suppress(OSError):  # it may be gone already: `receive` will say so
            self._control.send(feed.to_json().encode())

    @property
    def pid(self) -> int:
        """Of the reader."""
        return self._process.pid

    def receive(self, timeout: float) -> Opened | Received | None:
        """See `Reader.receive`."""
        self._control.settimeout(max(timeout, 1e-3))  # 0 would mean never to wait
        try:
            if not self._asked:
                self._control.send(b"n")
                self._asked = True
            packet = self._control.recv(1 << 16)
        except TimeoutError:
            return None
        except OSError:
            packet = b""
        if self._interrupted:
            return None
        if not packet:
            raise Lost(self._how_it_ended())
        try:
            return self._understood(json.loads(packet))
        except (ValueError, KeyError, TypeError) as error:
            raise Lost(f"its reader said something senseless ({error!r})") from error

    def interrupt(self) -> None:
        """See `Reader.interrupt`."""
        self._interrupted = True
        with suppress(OSError):  # closed already
            self._control.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """See `Reader.close`."""
        self.interrupt()
        if self._process.returncode is None:
            self._process.terminate()
        self._end()
        self._control.close()
        if self._view is not None:
            self._view.close()
        os.close(self._memory)

    def _understood(self, said: dict[str, Any]) -> Opened | Received:
        if "opened" in said:
            opened = said["opened"]
            return Opened(opened["text"], float(opened["rate"]), tuple(opened["offers"]))
        if "frame" in said:
            self._asked = False
            return self._frame(said["frame"])
        if "failed" in said:
            failed = said["failed"]
            if failed["again"]:
                raise Lost(failed["text"])
            kind = DeviceMissing if failed["code"] == DeviceMissing.exit_code else SourceFailed
            raise kind(failed["text"])
        raise EndOfFeed

    def _frame(self, said: dict[str, Any]) -> Received:
        height, width = (int(side) for side in said["size"])
        if not (height > 0 and width > 0 and height * width <= LARGEST):
            raise ValueError(f"a frame of {width}x{height}")
        size = height * width * 3
        if self._view is None or len(self._view) < size:
            self._view = mmap.mmap(self._memory, size)  # a ValueError if the memory is smaller
        image = np.frombuffer(self._view, np.uint8, size).reshape(height, width, 3).copy()
        return Received(
            image, float(said["captured"]), said["time"], int(said["dropped"]), int(said["damaged"])
        )

    def _how_it_ended(self) -> str:
        code = self._end()
        if code < 0:
            return f"its reader crashed ({signal.Signals(-code).name}): a decoder or driver failed"
        return f"its reader ended (exit code {code})"

    def _end(self) -> int:
        """Wait for the process, kill it and what it started (GStreamer), and its exit code."""
        if self._process.returncode is None:
            handle = os.pidfd_open(self._process.pid)
            ended = select.poll()  # not select(), which takes no handle above 1023
            ended.register(handle, select.POLLIN)
            ended.poll(1e3 * GRACE)
            os.close(handle)
            # Before `wait`: until then its number, and its group's, belong to nobody else.
            os.killpg(self._process.pid, signal.SIGKILL)
        return self._process.wait()


class EndOfFeed(Exception):
    """The last frame of a file was delivered."""


def _path() -> str:
    """The reader's PYTHONPATH: this package, then what the user set."""
    return os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
