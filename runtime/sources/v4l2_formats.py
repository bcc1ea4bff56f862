"""What a V4L2 device can deliver, asked of its driver (linux/videodev2.h)."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Callable, Iterator
from typing import Any

# Layouts of struct v4l2_fmtdesc, v4l2_frmsizeenum, v4l2_frmivalenum and v4l2_format (of 64 bits); a
# test compares their sizes and the request numbers with the kernel's header.
FMTDESC = struct.Struct("=III32sI4I")  # index, type, flags, description, pixelformat, ...
FRMSIZE = struct.Struct("=III6I2I")  # index, pixel_format, type, discrete or stepwise, ...
FRMIVAL = struct.Struct("=IIIII6I2I")  # index, pixel_format, width, height, type, fraction(s), ...
FORMAT = struct.Struct("=IIII192x")  # struct v4l2_format: type, padding, width, height, ...
VIDEO_CAPTURE, DISCRETE = 1, 1

Ioctl = Callable[[int, int, bytearray], object]


def request(number: int, layout: struct.Struct) -> int:
    """_IOWR('V', number, layout)."""
    return 3 << 30 | layout.size << 16 | ord("V") << 8 | number


G_FMT = request(4, FORMAT)
ENUM_FMT, ENUM_FRAMESIZES, ENUM_FRAMEINTERVALS = (
    request(2, FMTDESC),
    request(74, FRMSIZE),
    request(75, FRMIVAL),
)
# FFmpeg's names, which `format=` takes, for the kernel's
NAMES = {
    "MJPG": "mjpeg",
    "JPEG": "mjpeg",
    "YUYV": "yuyv422",
    "UYVY": "uyvy422",
    "YU12": "yuv420p",
    "NV12": "nv12",
    "H264": "h264",
    "HEVC": "hevc",
    "RGB3": "rgb24",
    "BGR3": "bgr24",
    "GREY": "gray",
}
ALIASES = {"mjpg": "mjpeg", "yuyv": "yuyv422", "uyvy": "uyvy422"}


def offers(device: str, ioctl: Ioctl = fcntl.ioctl) -> list[str]:
    """A line for each format and size of a device, such as "mjpeg 1280x720 at 30, 15 frames/s"."""
    try:
        handle = os.open(device, os.O_RDWR | os.O_NONBLOCK)
    except OSError:  # the failure that counts is the one of opening it for frames
        return []
    try:
        return [
            f"{name} {width}x{height}{_rates(handle, pixels, width, height, ioctl)}"
            for pixels, name in _formats(handle, ioctl)
            for width, height in _sizes(handle, pixels, ioctl)
        ]
    finally:
        os.close(handle)


def current_size(device: str, ioctl: Ioctl = fcntl.ioctl) -> str | None:
    """The size that a device delivers now, as WIDTHxHEIGHT; None if it does not say."""
    data = bytearray(FORMAT.pack(VIDEO_CAPTURE, 0, 0, 0))
    try:
        handle = os.open(device, os.O_RDWR | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        ioctl(handle, G_FMT, data)
    except OSError:
        return None
    finally:
        os.close(handle)
    _, _, width, height = FORMAT.unpack(data)
    return f"{width}x{height}"


def _formats(handle: int, ioctl: Ioctl) -> Iterator[tuple[int, str]]:
    """The kernel's code and FFmpeg's name of each format."""
    asked = (VIDEO_CAPTURE, 0, b"", 0, 0, 0, 0, 0)
    for answer in _entries(handle, ENUM_FMT, FMTDESC, asked, ioctl):
        pixels = answer[4]
        code = pixels.to_bytes(4, "little").decode("latin-1").strip()
        yield pixels, NAMES.get(code, code)


def _sizes(handle: int, pixels: int, ioctl: Ioctl) -> Iterator[tuple[int, int]]:
    """Widths and heights of a format; of a range, the smallest and the largest."""
    asked = (pixels, *(0,) * 9)
    for _, _, kind, *numbers in _entries(handle, ENUM_FRAMESIZES, FRMSIZE, asked, ioctl):
        if kind == DISCRETE:
            yield numbers[0], numbers[1]
            continue
        min_width, max_width, _, min_height, max_height, *_ = numbers
        yield min_width, min_height
        yield max_width, max_height
        return


def _rates(handle: int, pixels: int, width: int, height: int, ioctl: Ioctl) -> str:
    """The frame rates of a format and size, as the end of a line; of a range, the highest."""
    rates = []
    asked = (pixels, width, height, *(0,) * 9)
    for answer in _entries(handle, ENUM_FRAMEINTERVALS, FRMIVAL, asked, ioctl):
        kind, seconds, parts = answer[4:7]  # a frame takes seconds/parts
        if seconds:
            rates.append(f"{parts / seconds:g}")
        if kind != DISCRETE:
            break
    return f" at {', '.join(rates)} frames/s" if rates else ""


def _entries(
    handle: int,
    number: int,
    layout: struct.Struct,
    asked: tuple[object, ...],
    ioctl: Ioctl,
) -> Iterator[tuple[Any, ...]]:
    """The driver's answers for index 0, 1, ... until it says there are no more."""
    index = 0
    while True:
        data = bytearray(layout.pack(index, *asked))
        try:
            ioctl(handle, number, data)
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOTTY):  # no more; it cannot say
                return
            raise
        yield layout.unpack(data)
        index += 1
