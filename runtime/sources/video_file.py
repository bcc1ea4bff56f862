"""A video file: every frame, as fast as the stream takes them."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from pathlib import Path

import av
from av.container import InputContainer
from av.video.reformatter import VideoReformatter

from engines.failures import SourceFailed
from runtime.source import Frame
from runtime.sources.decoding import CONTAINERS, pictures, reason, rgb
from runtime.sources.status import ALWAYS_LIVE

UNKNOWN_RATE = 25.0  # FFmpeg's own assumption where a file does not say


class VideoSource:
    """The first video stream of a file, decoded with FFmpeg in this process.

    A local file cannot hang as a driver or a network can, so it needs no process of its own.
    """

    live = False
    status = ALWAYS_LIVE

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self.damaged = 0
        self._path = path
        self._closed = threading.Event()
        # A wrong file fails here, before any model is loaded.
        with open_video(self._path) as container:
            self.fps = float(container.streams.video[0].average_rate or UNKNOWN_RATE)

    def __iter__(self) -> Generator[Frame, None, None]:
        with open_video(self._path) as container:
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

    def _pictures(self, container: InputContainer) -> Generator[av.VideoFrame, None, None]:
        try:
            yield from pictures(container, lambda: not self._closed.is_set(), self._damage)
        except av.FFmpegError as error:
            raise SourceFailed(
                f"{self._path} breaks off ({reason(error)}): repair it with "
                "ffmpeg -i IN -c copy OUT.mkv"
            ) from error

    def _damage(self, packets: int) -> None:
        self.damaged += packets


def open_video(path: Path) -> InputContainer:
    """Open a file in a video's format as a local one: nothing in it may reach for anything else."""
    options = {"protocol_whitelist": "file", "format_whitelist": CONTAINERS}
    try:
        container = av.open(f"file:{path}", options=options)
    except PermissionError as error:
        raise SourceFailed(f"{path} may not be read: check its permissions") from error
    except (av.FFmpegError, OSError) as error:
        raise SourceFailed(
            f"{path} is not a video that FFmpeg can read ({reason(error)}): try ffprobe {path}"
        ) from error
    if container.streams.video:
        return container
    container.close()
    raise SourceFailed(f"{path} has no video in it: name a video, an image or a folder")
