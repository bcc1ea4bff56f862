"""The NumPy twins of what is compiled for the GPU alone, against FFmpeg and OpenCV."""

from __future__ import annotations

import av
import numpy as np
import pytest
from av.video.reformatter import VideoReformatter
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engines import twins
from engines.preprocess import fit_frame
from engines.stretch import ACROSS, DOWN, Filter

sides = st.integers(1, 70)


@settings(max_examples=60, deadline=None)
@given(st.tuples(sides, sides), st.tuples(sides, sides), st.integers(0, 2**16))
def test_fit_frame_is_swscale_to_the_bit(
    source: tuple[int, int], size: tuple[int, int], seed: int
) -> None:
    frame = np.random.default_rng(seed).integers(0, 256, (*source, 3)).astype(np.uint8)
    np.testing.assert_array_equal(twins.fit_frame(frame, size), fit_frame(frame, size))


@given(st.integers(1, 300), st.integers(1, 300))
def test_weights_add_up_and_stay_inside(size: int, source: int) -> None:
    if source > 120 * size:
        source = 120 * size
    for unit, multiple in ((ACROSS, 4), (DOWN, 2)):
        taps = Filter.bilinear(size, source, unit, multiple)
        assert taps.weight.shape[0] == size
        assert (taps.weight.sum(axis=1) == unit).all()
        assert (taps.weight >= 0).all()
        assert taps.read(source).max() < source
        assert (np.diff(taps.first) >= 0).all()


def picture(form: str, size: tuple[int, int], planes: list[NDArray[np.uint8]]) -> av.VideoFrame:
    """A decoded picture of FFmpeg's with these planes, without padding."""
    frame = av.VideoFrame(size[1], size[0], form)
    for plane, rows in zip(frame.planes, planes, strict=True):
        padded = np.zeros((len(rows), plane.line_size), np.uint8)
        padded[:, : rows.shape[1]] = rows
        plane.update(padded.tobytes())
    return frame


def rgb(frame: av.VideoFrame) -> NDArray[np.int64]:
    """As the sources of the stream make it."""
    image = VideoReformatter().reformat(frame, format="rgb24", threads=1).to_ndarray()
    return np.asarray(image, np.int64)


def test_colours_of_yuyv_are_ffmpegs_within_its_own_rounding() -> None:
    """swscale's fast conversions keep fewer bits: seen, at most 3 levels on noise."""
    image = np.random.default_rng(0).integers(0, 256, (64, 2 * 96), np.uint8)
    theirs = rgb(picture("yuyv422", (64, 96), [image]))
    ours = twins.rgb_of(image, "yuyv", (64, 96)).astype(np.int64)
    assert np.abs(ours - theirs).max() <= 4
    assert np.abs(ours - theirs).mean() < 1


def test_colours_of_nv12_are_those_of_planar_420() -> None:
    """FFmpeg gives NV12 interpolated colours on some processors; yuv420p has its own everywhere."""
    rng = np.random.default_rng(0)
    luma = rng.integers(0, 256, (64, 96), np.uint8)
    chroma = rng.integers(0, 256, (32, 96), np.uint8)
    theirs = rgb(picture("yuv420p", (64, 96), [luma, chroma[:, ::2], chroma[:, 1::2]]))
    ours = twins.rgb_of(np.concatenate([luma, chroma]), "nv12", (64, 96)).astype(np.int64)
    assert np.abs(ours - theirs).max() <= 4
    assert np.abs(ours - theirs).mean() < 1


@pytest.mark.parametrize("form", ["nv12", "yuyv"])
def test_colours_are_opencvs_within_a_level_from_black_on(form: str) -> None:
    cv2 = pytest.importorskip("cv2")
    rng = np.random.default_rng(0)
    if form == "nv12":
        image = rng.integers(16, 256, (48, 48)).astype(np.uint8)
        theirs = cv2.cvtColor(image, cv2.COLOR_YUV2RGB_NV12)
    else:
        image = rng.integers(16, 256, (32, 2 * 48)).astype(np.uint8)
        theirs = cv2.cvtColor(image.reshape(32, 48, 2), cv2.COLOR_YUV2RGB_YUYV)
    ours = twins.rgb_of(image, form, (32, 48)).astype(int)
    assert np.abs(ours - theirs).max() <= 1


def test_black_and_white_are_black_and_white() -> None:
    image = np.array([[16, 128, 235, 128]], np.uint8)
    expected = [[[0, 0, 0], [255, 255, 255]]]
    np.testing.assert_array_equal(twins.rgb_of(image, "yuyv", (1, 2)), expected)
