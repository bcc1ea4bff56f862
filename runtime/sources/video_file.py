"""A video file: every frame, as fast as the stream takes them."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.reformatter import VideoReformatter

from engines.failures import SourceFailed
from runtime.source import Frame, Image
from runtime.sources.status import ALWAYS_LIVE

# Containers of video, by FFmpeg's names. Left out on purpose: playlists (hls, concat), which open
# other files and retry for minutes, and tty, which renders any text as a picture of a terminal.
CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,flv,ogg,asf,mxf,ivf,nut,"
    "yuv4mpegpipe,h264,hevc,av1,obu,m4v,mjpeg,gif,apng"
)
UNKNOWN_RATE = 25.0  # FFmpeg's own assumption where a file does not say


class VideoSource:
    """The first video stream of a file, decoded with FFmpeg."""

    live = False
    status = ALWAYS_LIVE

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self.damaged = 0
        self._path = path
        self._closed = threading.Event()
        with self._open() as container:  # a wrong file fails here, before any model is loaded
            self.fps = float(container.streams.video[0].average_rate or UNKNOWN_RATE)

    def __iter__(self) -> Generator[Frame, None, None]:
        with self._open() as container:
            container.streams.video[0].thread_type = "AUTO"  # frame threads: a file has no latency
            converter = VideoReformatter()
            start: float | None = None
            for index, picture in enumerate(self._pictures(container)):
                at = index / self.fps if picture.time is None else picture.time
                start = at if start is None else start
                yield Frame(rgb(picture, converter), index, time.monotonic(), at - start)

    def close(self) -> None:
        """End after the frame being decoded."""
        self._closed.set()

    def _open(self) -> InputContainer:
        """Open as a local file in a video's format: nothing in it may reach for anything else."""
        options = {"protocol_whitelist": "file", "format_whitelist": CONTAINERS}
        try:
            container = av.open(f"file:{self._path}", options=options)
        except PermissionError as error:
            raise SourceFailed(f"{self._path} may not be read: check its permissions") from error
        except (av.FFmpegError, OSError) as error:
            raise SourceFailed(
                f"{self._path} is not a video that FFmpeg can read ({reason(error)}): "
                f"try ffprobe {self._path}"
            ) from error
        if container.streams.video:
            return container
        container.close()
        raise SourceFailed(f"{self._path} has no video in it: name a video, an image or a folder")

    def _pictures(self, container: InputContainer) -> Generator[av.VideoFrame, None, None]:
        try:
            for packet in container.demux(video=0):
                if self._closed.is_set():
                    return
                pictures, broken = decode(packet)
                self.damaged += broken
                yield from pictures
        except av.FFmpegError as error:
            raise SourceFailed(
                f"{self._path} breaks off ({reason(error)}): repair it with "
                "ffmpeg -i IN -c copy OUT.mkv"
            ) from error


def decode(packet: av.Packet[av.VideoStream]) -> tuple[list[av.VideoFrame], int]:
    """The pictures of a packet, and 1 if it was damaged: a stream goes on after it."""
    try:
        return packet.decode(), 0
    except av.error.InvalidDataError:
        return [], 1


def rgb(picture: av.VideoFrame, converter: VideoReformatter) -> Image:
    """A decoded picture as RGB [H, W, 3], turned upright as the file's rotation tag says.

    One converter per thread and one swscale thread: PyAV 17 and 18 otherwise build a context with
    its own thread pool for every frame, and half a millisecond of CPU goes into that alone.
    """
    image = converter.reformat(picture, format="rgb24", threads=1).to_ndarray()
    turns = round(picture.rotation / 90) % 4  # counterclockwise, as for np.rot90
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else np.asarray(image, np.uint8)


def reason(error: BaseException) -> str:
    """The system's or FFmpeg's words for an error, without the file name."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
