"""A camera on this machine: V4L2 through FFmpeg, which every PyAV wheel for Linux carries."""

from __future__ import annotations

import errno
import re
import threading
import time
from collections.abc import Generator
from pathlib import Path

import av
from av.container import InputContainer
from av.video.reformatter import VideoReformatter

from engines.failures import SourceFailed
from runtime.source import Frame
from runtime.sources.decoding import pictures, reason, rgb
from runtime.sources.status import ALWAYS_LIVE

UNKNOWN_RATE = 30.0  # what almost every USB camera delivers; only a recording's header uses it


def device_path(text: str) -> str | None:
    """The device that `--camera` means: "0" is /dev/video0, /dev/... is itself, else None."""
    if re.fullmatch(r"\d{1,3}", text):
        return f"/dev/video{int(text)}"
    return text if text.startswith("/dev/") else None


class CameraSource:
    """Frames of a V4L2 device, read as fast as they come.

    Args:
        device: Path of the device, such as /dev/video0 or /dev/v4l/by-id/...
        driver: FFmpeg's input device; a test gives another one.
    """

    live = True
    status = ALWAYS_LIVE

    def __init__(self, device: str, driver: str = "v4l2") -> None:
        self.name = device
        self.fps = UNKNOWN_RATE
        self.damaged = 0
        self._driver = driver
        self._closed = threading.Event()
        if driver == "v4l2" and not Path(device).exists():
            raise SourceFailed(f"no camera at {device}: {cameras_found()}")

    def __iter__(self) -> Generator[Frame, None, None]:
        converter = VideoReformatter()
        start: float | None = None
        with self._open() as container:
            self.fps = float(container.streams.video[0].average_rate or UNKNOWN_RATE)
            for index, picture in enumerate(self._pictures(container)):
                captured = capture_time(picture.time, time.monotonic())
                start = captured if start is None else start
                yield Frame(rgb(picture, converter), index, captured, captured - start)

    def close(self) -> None:
        """End after the frame being waited for; a driver that hangs keeps its own thread only."""
        self._closed.set()

    def _open(self) -> InputContainer:
        try:
            return av.open(self.name, format=self._driver)
        except (av.FFmpegError, OSError) as error:
            raise SourceFailed(f"{self.name} did not open: {_cause(error)}") from error

    def _pictures(self, container: InputContainer) -> Generator[av.VideoFrame, None, None]:
        try:
            yield from pictures(container, lambda: not self._closed.is_set(), lambda _: None)
            if self._closed.is_set():
                return
        except (av.FFmpegError, OSError) as error:
            raise SourceFailed(
                f"{self.name} stopped ({reason(error)}): was it unplugged? {cameras_found()}"
            ) from error
        raise SourceFailed(f"{self.name} stopped delivering frames: {cameras_found()}")


def capture_time(stamp: float | None, now: float) -> float:
    """When a frame was taken, on the monotonic clock: the driver's time stamp if it is on it.

    V4L2 drivers stamp buffers with CLOCK_MONOTONIC, so time spent in the driver's queue counts as
    age. A stamp of another clock (older drivers: the time of day) is not believed.
    """
    believable = stamp is not None and 0 <= now - stamp < 60
    return stamp if stamp is not None and believable else now


def cameras_found() -> str:
    """The cameras of this machine and what to type, as the end of a sentence."""
    devices = sorted(Path("/dev").glob("video*"))
    if not devices:
        return "this machine has no /dev/video*; the built-in camera is --camera street:"
    named = ", ".join(f"{device} ({_product(device)})" for device in devices)
    return f"found {named}; choose one with --camera {devices[0]}"


def _product(device: Path) -> str:
    name = Path("/sys/class/video4linux", device.name, "name")
    return name.read_text().strip() if name.exists() else "unnamed"


def _cause(error: av.FFmpegError | OSError) -> str:
    """Why a device does not open, and what to do."""
    known = {
        errno.EACCES: "no permission; add yourself to its group (sudo usermod -aG video $USER) "
        "and log in again",
        errno.EBUSY: "another program uses it; find it with fuser -v /dev/video*",
        errno.ENOTTY: f"it is no camera; {cameras_found()}",
    }
    text = known.get(error.errno or 0)
    return text if text else f"{reason(error)}; {cameras_found()}"
