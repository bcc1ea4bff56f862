"""A video file of what the stream shows: playable however the stream ends."""

from __future__ import annotations

import os
import shutil
import tempfile
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np
from av.container import OutputContainer
from av.video.reformatter import Colorspace, VideoReformatter
from av.video.stream import VideoStream

from engines.failures import Failure, UsageError
from runtime.lane import Result
from runtime.sinks.encoders import Choice, choose_encoder
from runtime.source import Image

CONTAINERS = (".mp4", ".mkv", ".mov")
CLOCK = Fraction(1, 60_000)  # s; exact for 24, 25, 29.97, 30, 50, 60; MPEG-4 ends at 1/65535
SECOND = round(1 / CLOCK)  # ticks
# MP4 has 31 bits for the time between two pictures, 9.9 h, and for that by which pictures are
# reordered, of which a few such gaps are a part. Without room for one it has no index at all.
LONGEST = 3600 * SECOND
RESERVE = 64 << 20  # bytes for the index: some 20 a picture, 52 MB after a day at 30 frames/s
BT709 = 1  # FFmpeg's number for it as matrix, primaries and transfer


class Recorder:
    """Writes pictures to `path`; use with `with`.

    The file is written under a temporary name beside `path` and takes its place when closed, also
    when the stream failed: what was recorded up to then is kept. No pictures, no file. It begins
    with its first picture, whenever that was, and ends before the disk has no room for its index.

    Args:
        path: Of a kind in `CONTAINERS`.
        fps: Nominal, for the file's header.
        encoder: One of `runtime.sinks.encoders.CHOICES`.
        name: Of the sink.
    """

    def __init__(self, path: Path, fps: float, encoder: str = "auto", name: str = "record") -> None:
        self.name = name
        self.frames = 0
        self.choice: Choice | None = None  # of the encoder, at the first picture
        self._asked = encoder
        self._path = path
        self._fps = Fraction(fps).limit_denominator(1001)
        self._last = -1  # tick of the last picture
        self._origin = 0  # what is taken off the source's time, in ticks
        self._converter = VideoReformatter()
        self._output: tuple[OutputContainer, VideoStream] | None = None
        handle, name = _temporary(path)
        os.close(handle)
        self._temporary = Path(name)

    def put(self, result: Result) -> bool:
        """Append the picture of a result that has one."""
        if result.picture is not None:
            self.write(result.picture, result.frame.time)
        return True

    def write(self, picture: Image, at: float) -> None:
        """Append a picture [H, W, 3] that the source gave at `at` seconds.

        The first one decides the size; later ones of another size are stretched to it.
        """
        try:
            free = shutil.disk_usage(self._path.parent).free
            if free < RESERVE:
                raise Failure(
                    f"recording to {self._path} ended, as only {free >> 20} MB are free: make room "
                    f"on the disk, df -h {self._path.parent}"
                )
            container, stream = self._output = self._output or self._open(picture)
            frame = self._converter.reformat(
                av.VideoFrame.from_numpy_buffer(_even(picture), format="rgb24"),
                stream.width,
                stream.height,
                stream.pix_fmt,
                dst_colorspace=Colorspace.ITU709,
                threads=1,
            )
            frame.pts, frame.time_base = self._place(at), CLOCK
            container.mux(stream.encode(frame))
            self.frames += 1
        except (av.FFmpegError, OSError) as error:
            raise Failure(
                f"recording to {self._path} failed ({error}): is the disk full?"
            ) from error

    def close(self) -> None:
        """Finish the file and give it its name."""
        output, self._output = self._output, None
        if output is None:
            self._temporary.unlink(missing_ok=True)
            return
        container, stream = output
        try:
            container.mux(stream.encode(None))
            container.close()
            self._temporary.chmod(0o644)  # mkstemp makes 0600
            self._temporary.replace(self._path)
        except (av.FFmpegError, OSError) as error:
            self._temporary.unlink(missing_ok=True)
            raise Failure(f"{self._path} was not finished: {_cause(error, self._path)}") from error

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
        if error is not None and self.frames:
            print(f"kept {self._path}: {self.frames} frames")

    def _place(self, at: float) -> int:
        """Where a picture stands, in ticks: from 0 on, and rising, as players need it.

        Two frames of a live source may share a tick, or be a little out of order. Where time is set
        back, as between two films in one file, the second goes on where the first ended; a camera
        that was away for hours was so for one.
        """
        tick = round(at / CLOCK)
        gap = tick - self._origin - self._last
        first, back, far = self._last < 0, gap < -SECOND, gap > LONGEST
        if first or back or far:
            step = 1 if first else LONGEST if far else SECOND // 25
            self._origin = tick - self._last - step
        self._last = max(self._last + 1, tick - self._origin)
        return self._last

    def _open(self, picture: Image) -> tuple[OutputContainer, VideoStream]:
        height, width = _even(picture).shape[:2]
        self.choice = choose_encoder(self._asked, (width, height))
        encoder = self.choice.encoder
        container = av.open(str(self._temporary), "w", format=_FORMATS[self._path.suffix.lower()])
        stream = container.add_stream(encoder.codec, rate=self._fps, options=dict(encoder.options))
        assert isinstance(stream, VideoStream)
        encoder.set_up(stream.codec_context, (width, height), self._fps)
        stream.time_base = stream.codec_context.time_base = CLOCK
        context = stream.codec_context
        context.thread_count = 1  # the engine needs the cores; and its cost stays in our thread
        context.colorspace = context.color_primaries = context.color_trc = BT709
        return container, stream


_FORMATS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}


def check_recordable(path: Path) -> None:
    """Raise `UsageError` unless a recording can be written to `path`."""
    if path.suffix.lower() not in CONTAINERS:
        raise UsageError(f"--record {path}: give it a name that ends in {', '.join(CONTAINERS)}")
    if not path.parent.is_dir():
        raise UsageError(f"--record {path}: no folder {path.parent}; mkdir -p {path.parent}")
    if path.is_dir():
        raise UsageError(f"--record {path} is a folder: name a file in it, {path / 'out.mp4'}")
    if not os.access(path.parent, os.W_OK):
        raise UsageError(f"--record {path}: no permission to write to {path.parent}")


def _cause(error: av.FFmpegError | OSError, path: Path) -> str:
    return f"{error.strerror}; is there room on the disk? df -h {path.parent}"


def _temporary(path: Path) -> tuple[int, str]:
    return tempfile.mkstemp(prefix=f".{path.stem[:40]}-", suffix=path.suffix, dir=path.parent)


def _even(picture: Image) -> Image:
    """The picture, an odd last row or column repeated: 4:2:0 video stores colours per 2x2."""
    height, width = picture.shape[:2]
    if height % 2 == 0 and width % 2 == 0:
        return picture
    return np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
