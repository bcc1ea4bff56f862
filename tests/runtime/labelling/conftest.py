"""Videos with real motion and chosen keyframes, and folders to label."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.stream import VideoStream
from numpy.typing import NDArray
from PIL import Image

SIZE = (96, 128)


def picture(index: int) -> NDArray[np.uint8]:
    """A texture that moves to the right: predicted from its neighbours, equal to none of them."""
    texture = np.random.default_rng(7).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    return np.roll(np.kron(texture, np.ones((8, 8, 1), np.uint8)), index, axis=1)


def encode(path: Path, count: int, codec: str = "libx264", **options: str) -> Path:
    """Write a video of `picture`s; `options` are the codec's, such as g="10"."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        assert isinstance(stream, VideoStream)
        stream.height, stream.width = SIZE
        stream.pix_fmt = "yuv420p"
        for index in range(count):
            frame = av.VideoFrame.from_ndarray(picture(index), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture
def make_clip() -> Callable[..., Path]:
    """`make_clip(path, count, codec, **options)`: see `encode`."""
    return encode


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two clips, three photos of two sizes in two folders, and a file that is neither."""
    root = tmp_path / "in"
    encode(root / "clips/a.mp4", 25, g="5")
    encode(root / "b.mkv", 7)
    (root / "photos").mkdir()
    for name, index in (("photos/x.png", 0), ("photos/y.jpg", 3)):
        Image.fromarray(picture(index)).save(root / name)
    Image.fromarray(picture(5)[:50]).save(root / "z.bmp")
    (root / "notes.txt").write_text("not to be labelled")
    return root
