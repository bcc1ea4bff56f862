"""The packet loop that every decoded source shares, and its pictures as RGB."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import suppress

import av
import numpy as np
from av.container import InputContainer
from av.video.reformatter import VideoReformatter

from runtime.source import Image

# Containers of video, by FFmpeg's names. Left out on purpose: playlists (hls, concat), which open
# other files and retry for minutes, and tty, which renders any text as a picture of a terminal.
CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,flv,ogg,asf,mxf,ivf,nut,"
    "yuv4mpegpipe,h264,hevc,av1,obu,m4v,mjpeg,gif,apng"
)


def pictures(
    container: InputContainer, wanted: Callable[[], bool], damaged: Callable[[int], None]
) -> Generator[av.VideoFrame, None, None]:
    """The pictures of the first video stream while they are `wanted`, which each packet asks.

    `damaged` is told of each packet that could not be decoded; the stream goes on after it.
    """
    try:
        for packet in container.demux(video=0):
            if not wanted():
                return
            decoded, broken = _decode(packet)
            damaged(broken)
            yield from decoded
    finally:
        _finish(container)


def _finish(container: InputContainer) -> None:
    """Let the decoder's threads end the pictures that they are ahead by.

    Closing waits for them, too, but holds Python's lock meanwhile, which a thread with something
    to log waits for if PyAV's log is on: torchvision, for one, switches it on.
    """
    with suppress(av.FFmpegError):  # what follows the end of a file, or its first broken packet
        container.streams.video[0].decode(None)


def _decode(packet: av.Packet[av.VideoStream]) -> tuple[list[av.VideoFrame], int]:
    """The pictures of a packet, and how many there would have been besides."""
    try:
        decoded = packet.decode()
    except av.error.InvalidDataError:
        return [], 1
    whole = [picture for picture in decoded if not picture.is_corrupt]
    return whole, len(decoded) - len(whole)


def rgb(picture: av.VideoFrame, converter: VideoReformatter) -> Image:
    """A decoded picture as RGB [H, W, 3], turned upright as the file's rotation tag says."""
    return np.ascontiguousarray(rgb_view(picture, converter))


def rgb_view(picture: av.VideoFrame, converter: VideoReformatter) -> Image:
    """As `rgb`, but strided as FFmpeg's memory is: for who copies it anyway.

    One converter per thread and one swscale thread: PyAV 17 and 18 otherwise build a context with
    its own thread pool for every frame, and half a millisecond of CPU goes into that alone.
    """
    converted = converter.reformat(picture, format="rgb24", threads=1)
    plane = converted.planes[0]
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
    image = rows[: converted.height, : 3 * converted.width]
    image = image.reshape(converted.height, converted.width, 3)
    turns = round(picture.rotation / 90) % 4  # counterclockwise, as for np.rot90
    return np.rot90(image, turns) if turns else image


def reason(error: BaseException) -> str:
    """The system's or FFmpeg's words for an error, without the file name."""
    if isinstance(error, av.error.ExitError):  # PyAV's time-out, which interrupts FFmpeg
        return "nothing came in time"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
