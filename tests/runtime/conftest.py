"""A fake model, a scripted camera, and small videos whose frames tell their own number."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.stream import VideoStream
from numpy.typing import NDArray

from engines.session import Session
from engines.spec import ModelSpec
from runtime.source import Frame, FrameSource
from runtime.sources.status import ALWAYS_LIVE, Status

SPEC = ModelSpec(
    name="brightness",
    architecture="fake",
    classes=("dark", "middle", "bright"),
    palette=((200, 0, 0), (0, 200, 0), (0, 0, 200)),
    input_size=(48, 64),
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
)


class BrightnessSession:
    """A session without an engine: the class of a pixel is how bright it is."""

    spec = SPEC
    precision = "fp32"
    target = "cpu"
    description = "fp32 on nothing"

    def __init__(self) -> None:
        self.before: Callable[[], None] = lambda: None  # called at the start of each run

    def run(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.before()
        brightness = frames[:, ::4, ::4].astype(np.float32).mean(axis=3)  # [N, h, w]
        middles = np.array([42, 127, 212], np.float32)[None, :, None, None]
        return np.asarray(-np.abs(brightness[:, None] - middles), np.float32)

    def close(self) -> None: ...

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None: ...


@pytest.fixture
def session() -> BrightnessSession:
    return BrightnessSession()


@dataclass
class ScriptedSource:
    """A source whose frames, pauses and failures are the test's."""

    frames: Iterable[Frame]
    live: bool = False
    name: str = "script"
    fps: float = 25.0
    damaged: int = 0
    status: Status = ALWAYS_LIVE
    closed: list[bool] = field(default_factory=list)

    def __iter__(self) -> Generator[Frame, None, None]:
        yield from self.frames

    def close(self) -> None:
        self.closed.append(True)


@pytest.fixture
def make_source() -> Callable[..., FrameSource]:
    """`make_source(frames, live=False)`: a source that yields what the iterable `frames` does."""
    return ScriptedSource


def _frame(index: int, size: tuple[int, int] = (48, 64), level: int = 0) -> Frame:
    return Frame(np.full((*size, 3), level, np.uint8), index, time.monotonic(), index / 25)


@pytest.fixture
def make_frame() -> Callable[..., Frame]:
    """A grey frame: index, size (height, width), level 0 to 255."""
    return _frame


@pytest.fixture
def make_video(tmp_path: Path) -> Callable[..., Path]:
    """Write a video of grey frames, frame i at level 20 + 10 i; the path of it."""

    def make(
        name: str = "video.mp4",
        count: int = 5,
        size: tuple[int, int] = (48, 64),
        fps: int = 25,
        codec: str = "libx264",
    ) -> Path:
        path = tmp_path / name
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=fps)
            assert isinstance(stream, VideoStream)
            stream.height, stream.width = size
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            for index in range(count):
                image = np.full((*size, 3), 20 + 10 * index, np.uint8)
                picture = av.VideoFrame.from_ndarray(image, format="rgb24")
                picture.pts, picture.time_base = index, Fraction(1, fps)
                container.mux(stream.encode(picture))
            container.mux(stream.encode(None))
        return path

    return make


@pytest.fixture
def levels() -> Callable[[Sequence[NDArray[np.uint8]]], list[int]]:
    """The frame numbers that the grey levels of `make_video` frames stand for."""
    return lambda images: [round((float(image.mean()) - 20) / 10) for image in images]
