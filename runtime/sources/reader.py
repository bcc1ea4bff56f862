"""The reader process: reads one feed and hands frames to the stream when that asks for one.

`runtime.sources.reader_process` starts it with two inherited file descriptors: a socket of packets,
and the shared memory for one frame. A driver that hangs or a decoder that crashes takes this
process with it and nothing else.

    stream ─▶ reader   the feed as JSON, then b"n" whenever it wants the next frame
    reader ─▶ stream   JSON: {"opened": ...}, {"frame": ...} once the frame stands in the memory,
                       {"failed": ...} or {"ended": true} as its last word

A frame is converted and copied only when asked for, so what is handed over is never older than the
newest picture of that moment (drop policy `newest`), and one place in memory is enough.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import numpy as np
from av.container import InputContainer
from av.video.reformatter import VideoReformatter

from engines.failures import Failure
from runtime.drop_policy import drop_policy
from runtime.redaction import redact
from runtime.slot import Ended, Slot
from runtime.source import Image
from runtime.sources.capture import Capture, Picture
from runtime.sources.decoding import rgb_view
from runtime.sources.feed import Feed, Lost
from runtime.sources.v4l2 import offers

PR_SET_PDEATHSIG = 1
GRACE = 0.3  # s to leave the camera properly (RTSP: TEARDOWN) when told to end


class Told(Capture):
    """A capture that reports what it opened."""

    def __init__(self, feed: Feed, control: socket.socket) -> None:
        super().__init__(feed)
        self._control = control

    @contextmanager
    def connected(self, feed: Feed) -> Iterator[InputContainer]:
        with super().connected(feed) as container:
            self._tell(container)
            yield container

    def _tell(self, container: InputContainer) -> None:
        stream = container.streams.video[0]
        codec = stream.codec_context
        text = f"{codec.width}x{codec.height} {codec.name}"
        rate = float(stream.average_rate or 0)
        if rate:
            text += f" at {rate:g} frames/s"
        said = {"text": text, "rate": rate, "offers": offers(self._feed)}
        self._control.send(json.dumps({"opened": said}).encode())


class Outlet:
    """The shared memory of one frame, seen from the reader."""

    def __init__(self, memory: int) -> None:
        self._memory = memory
        self._view: mmap.mmap | None = None

    def put(self, image: Image) -> None:
        """Copy an image [H, W, 3] into the memory, which grows as needed."""
        if self._view is None or len(self._view) < image.nbytes:
            os.ftruncate(self._memory, image.nbytes)
            self._view = mmap.mmap(self._memory, image.nbytes)
        np.frombuffer(self._view, np.uint8, image.nbytes).reshape(image.shape)[:] = image


def main(argv: list[str]) -> int:
    """Read until the stream hangs up; the exit code says nothing, the last packet does."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    control, memory = socket.socket(fileno=int(argv[1])), Outlet(int(argv[2]))
    feed = Feed.from_json(control.recv(1 << 16).decode())
    slot: Slot[Picture] = Slot(drop_policy(feed.drop, live=feed.live))
    capture = Told(feed, control)
    last: list[dict[str, Any]] = []
    thread = threading.Thread(target=_produce, args=(capture, slot, last), daemon=True)

    def leave(_number: int, _frame: FrameType | None) -> None:
        raise SystemExit

    signal.signal(signal.SIGTERM, leave)
    thread.start()
    try:
        _serve(control, memory, capture, slot)
        thread.join()
        control.send(json.dumps(last[0]).encode())
    except (SystemExit, OSError):  # told to end, or the stream is gone
        pass
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        capture.close()
        slot.close()
        thread.join(GRACE)
        if thread.is_alive() and os.getpgid(0) == os.getpid():
            os.killpg(0, signal.SIGKILL)  # hung: with all it started, such as GStreamer
        os._exit(0)


def _produce(capture: Capture, slot: Slot[Picture], last: list[dict[str, Any]]) -> None:
    """Fill the slot until the feed ends; `last` gets the last word."""
    try:
        for picture in capture:
            slot.put(picture)
        last.append({"ended": True})
    except Ended:
        last.append({"ended": True})
    except Failure as failure:
        said = {"text": redact(str(failure)), "code": failure.exit_code}
        last.append({"failed": {**said, "again": isinstance(failure, Lost)}})
    except Exception as error:  # a bug of ours or of a decoder's binding: worth another try
        text = redact(f"{type(error).__name__}: {error}")
        last.append({"failed": {"text": text, "code": Failure.exit_code, "again": True}})
    finally:
        slot.end()


def _serve(control: socket.socket, memory: Outlet, capture: Capture, slot: Slot[Picture]) -> None:
    """Hand one picture over for each request, until there are none or the stream hangs up."""
    converter = VideoReformatter()
    while control.recv(1):
        try:
            picture = slot.take()
        except Ended:
            return
        image = rgb_view(picture.frame, converter)
        memory.put(image)
        said = {
            "size": image.shape[:2],
            "captured": picture.captured,
            "time": picture.time,
            "dropped": slot.dropped,
            "damaged": capture.damaged,
        }
        control.send(json.dumps({"frame": said}).encode())
    raise SystemExit
