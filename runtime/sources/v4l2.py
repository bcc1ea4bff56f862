"""USB cameras: V4L2 through FFmpeg, which every PyAV wheel for Linux carries."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qsl

import av
from av.container import InputContainer

from engines.failures import SourceFailed, UsageError
from runtime.sources import v4l2_formats
from runtime.sources.decoding import reason
from runtime.sources.feed import Feed, Lost
from runtime.sources.size import parse_size, within

OPTIONS = (
    "size=WxH, fps=N and format=NAME (mjpeg, yuyv422, ...), "
    "for example --camera '0?size=1280x720&fps=30&format=mjpeg'"
)

_open: list[InputContainer] = []  # as long as this process lives: see `opened`


def device_path(text: str) -> str | None:
    """The device that `--camera` means: "0" is /dev/video0, /dev/... is itself, else None."""
    device = text.partition("?")[0]
    if re.fullmatch(r"\d{1,3}", device):
        return f"/dev/video{int(device)}"
    return device if device.startswith("/dev/") else None


def device_feed(text: str) -> Feed:
    """The feed of a device with its options; one that is not there is a `SourceFailed`."""
    device = device_path(text)
    assert device is not None
    if not Path(device).exists():
        raise SourceFailed(f"no camera at {device}: {cameras_found()}")
    query = text.partition("?")[2]
    try:
        given = dict(parse_qsl(query, strict_parsing=True)) if query else {}
        options = {_NAMES[name]: _PARSERS[name](value) for name, value in given.items()}
    except (KeyError, ValueError):
        raise UsageError(f"{text!r} is not understood: the options are {OPTIONS}") from None
    return Feed("v4l2", stable_path(device), options)


def stable_path(device: str) -> str:
    """The device's name by its serial number, if it has one: /dev/video0 may be another camera, or
    none, after a cable was pulled and put back."""
    target = Path(device).resolve()
    links = sorted(Path("/dev/v4l/by-id").glob("*"))
    return str(next((link for link in links if link.resolve() == target), device))


@contextmanager
def opened(feed: Feed) -> Iterator[InputContainer]:
    """The streaming device, in the format asked for; it closes when the process ends.

    Its pictures lie in the driver's memory and hand it back when the last reference to them goes,
    which after closing reads memory that is no longer there. An error's traceback is such a
    reference, so that nobody can say when the last one goes.
    """
    options = {name: value for name, value in feed.options.items() if name != "driver"}
    try:
        container = av.open(
            feed.address,
            format=feed.options.get("driver", "v4l2"),  # a test gives another one
            options=options,
            timeout=(feed.opening, feed.reading),
        )
    except (av.FFmpegError, OSError) as error:
        raise _failure(feed, error) from error
    # A driver takes the nearest size without a word, and PyAV then reads its rows wrongly.
    wanted, got = options.get("video_size"), v4l2_formats.current_size(feed.address)
    if wanted is not None and got not in (None, wanted):
        container.close()
        raise SourceFailed(f"it gives {got} instead of {wanted}; {_choices(feed)}")
    _open.append(container)
    yield container


def offers(feed: Feed) -> list[str]:
    """What a V4L2 device can deliver, for people; nothing of other feeds."""
    if feed.kind != "v4l2" or "driver" in feed.options:
        return []
    return v4l2_formats.offers(feed.address)


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


def _choices(feed: Feed) -> str:
    found = offers(feed)
    return f"it offers {'; '.join(found)}" if found else f"the options are {OPTIONS}"


def _failure(feed: Feed, error: av.FFmpegError | OSError) -> SourceFailed:
    """Why a device does not open, and what to do; `Lost` if it may pass."""
    if error.errno == errno.EACCES:
        return SourceFailed(
            "no permission; add yourself to its group (sudo usermod -aG video $USER) and log in "
            "again"
        )
    if error.errno == errno.ENOTTY:
        return SourceFailed(f"it is no camera; {cameras_found()}")
    if error.errno == errno.EINVAL:
        return SourceFailed(f"it does not take these options; {_choices(feed)}")
    known = {
        errno.EBUSY: "another program uses it; find it with fuser -v /dev/video*",
        errno.ENOENT: f"it is not there: was it unplugged? {cameras_found()}",
    }
    return Lost(known.get(error.errno or 0) or f"{reason(error)}; {cameras_found()}")


def _size(text: str) -> str:
    height, width = parse_size(text, 16, 16384)
    return f"{width}x{height}"


def _format(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9]{1,20}", text):
        raise ValueError(text)
    return v4l2_formats.ALIASES.get(text, text)


_NAMES = {"size": "video_size", "fps": "framerate", "format": "input_format"}
_PARSERS = {
    "size": _size,
    "fps": lambda text: f"{within(float(text), 0.1, 1000):g}",
    "format": _format,
}
