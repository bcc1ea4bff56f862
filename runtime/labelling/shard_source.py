"""The frames of one shard, as a source that the stream can be given."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Sequence
from pathlib import Path

import av
from av.container import InputContainer
from av.video.reformatter import VideoReformatter

from engines.failures import SourceFailed
from runtime.labelling.plan import Shard, SourceFile
from runtime.source import Frame
from runtime.sources.decoding import pictures, reason, rgb
from runtime.sources.folder import read_image
from runtime.sources.status import ALWAYS_LIVE
from runtime.sources.video_file import UNKNOWN_RATE, open_video


class VideoShard:
    """A piece of a video, decoded from its keyframe on: the pixels, numbers and times that
    `runtime.sources.video_file` gives these frames when it reads the whole file."""

    live = False
    status = ALWAYS_LIVE

    def __init__(self, path: Path, shard: Shard) -> None:
        self.name = str(path)
        self.fps = UNKNOWN_RATE
        self.damaged = 0
        self._path, self._shard = path, shard
        self._closed = threading.Event()

    def __iter__(self) -> Generator[Frame, None, None]:
        try:
            if self._shard.first and (yield from self._decode(seek=True)):
                return
            yield from self._decode(seek=False)
        except av.FFmpegError as error:
            raise SourceFailed(
                f"{self._path} breaks off ({reason(error)}): repair it with "
                "ffmpeg -i IN -c copy OUT.mkv"
            ) from error

    def close(self) -> None:
        """End after the frame being decoded."""
        self._closed.set()

    def _decode(self, seek: bool) -> Generator[Frame, None, bool]:
        """The frames; False, before any of them, if the seek did not lead to the first one.

        Some containers seek by bytes, and some "keyframes" need pictures before them (a periodic
        intra refresh): then the only sure way is from the beginning.
        """
        shard, converter, origin = self._shard, VideoReformatter(), None
        with open_video(self._path) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            self.fps = float(stream.average_rate or UNKNOWN_RATE)
            if shard.origin is not None and stream.time_base is not None:
                origin = float(shard.origin * stream.time_base)
            if seek:
                assert shard.start is not None
                container.seek(shard.start, stream=stream)
            for index, picture in enumerate(self._shown(container), start=shard.first):
                if seek and index == shard.first and picture.pts != shard.start:
                    return False
                at = index / self.fps if picture.time is None else picture.time
                origin = at if origin is None else origin
                yield Frame(rgb(picture, converter), index, time.monotonic(), at - origin)
                seek = False
        return not seek

    def _shown(self, container: InputContainer) -> Generator[av.VideoFrame, None, None]:
        """The pictures of the shard, among those that are decoded on the way."""
        start, stop, inside = self._shard.start, self._shard.stop, False

        def damage(packets: int) -> None:
            self.damaged += packets if inside else 0

        for picture in pictures(container, lambda: not self._closed.is_set(), damage):
            if start is None or picture.pts is None or picture.pts >= start:
                inside = True
                if stop is not None and picture.pts is not None and picture.pts >= stop:
                    return
                yield picture


class ImageShard:
    """Images, each with the number that it has in the group; one that is not readable is left out
    and named in `failures`."""

    live = False
    status = ALWAYS_LIVE
    fps = UNKNOWN_RATE
    damaged = 0

    def __init__(self, files: Sequence[SourceFile]) -> None:
        self.name = f"{files[0].name} ... {files[-1].name}"
        self.failures: dict[str, str] = {}  # why, by the file's name
        self._files = files
        self._closed = threading.Event()

    def __iter__(self) -> Generator[Frame, None, None]:
        for index, file in enumerate(self._files):
            if self._closed.is_set():
                return
            try:
                image = read_image(Path(file.path))
            except SourceFailed as failure:
                self.failures[file.name] = str(failure)
                continue
            yield Frame(image, index, time.monotonic(), 0.0)

    def close(self) -> None:
        """End after the image being read."""
        self._closed.set()
