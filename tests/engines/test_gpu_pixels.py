"""The GPU's pixel kernels against NumPy, C++ and FFmpeg, run on the host by a shim and on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from engines import twins
from engines.blend import blend
from engines.device import Buffer, Device, uploaded
from engines.failures import UsageError
from engines.gpu_pixels import FORMS, Camera, GpuPixels, Labeller, Painter, Stretcher
from engines.labels import upsample_argmax
from engines.preprocess import fit_frame
from tests.host_shim.host_device import HostDevice

Bytes = NDArray[np.uint8]
Size = tuple[int, int]

STRETCHES = [
    pytest.param((48, 64), (36, 48), id="shrink"),
    pytest.param((72, 96), (36, 48), id="half: pairs of pixels"),
    pytest.param((108, 200), (36, 48), id="a third: pairs"),
    pytest.param((54, 97), (36, 48), id="half of an odd width: no pairs"),
    pytest.param((20, 24), (36, 48), id="grow"),
    pytest.param((33, 49), (65, 65), id="odd"),
    pytest.param((48, 30), (36, 48), id="shrink and grow"),
    pytest.param((36, 64), (36, 48), id="same height"),
    pytest.param((64, 48), (36, 48), id="same width"),
    pytest.param((1, 1), (7, 5), id="from one pixel"),
    pytest.param((7, 5), (1, 1), id="to one pixel"),
    pytest.param((2, 3), (9, 8), id="fewer pixels than weights"),
    pytest.param((5, 1200), (4, 10), id="120 times"),
]
LABELS = [
    pytest.param((9, 12), (36, 48), id="stride-4"),
    pytest.param((9, 13), (35, 51), id="odd"),
    pytest.param((9, 12), (9, 12), id="same"),
    pytest.param((23, 30), (10, 12), id="shrink"),
    pytest.param((1, 1), (7, 5), id="one-cell"),
    pytest.param((1, 9), (4, 36), id="one-row"),
    pytest.param((9, 1), (36, 4), id="one-column"),
]
CAMERAS = [(1, 1), (1, 2), (2, 1), (3, 5), (16, 18), (17, 31)]
PALETTE = [(0, 0, 0), (255, 255, 255), (10, 200, 30)]


@pytest.fixture
def pixels(device: Device) -> Iterator[GpuPixels]:
    with GpuPixels(device) as opened:
        yield opened


def noise(shape: tuple[int, ...], seed: int = 0) -> Bytes:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def read(pixels: GpuPixels, buffer: Buffer, shape: tuple[int, ...]) -> Bytes:
    result = np.empty(shape, np.uint8)
    pixels.device.download(buffer, result)
    return result


@pytest.mark.parametrize(("source", "size"), STRETCHES)
def test_a_frame_is_fitted_as_ffmpeg_does_it(pixels: GpuPixels, source: Size, size: Size) -> None:
    """Every bit: the kernel, its twin, and the swscale of this machine."""
    stretcher = Stretcher(pixels, size, source)
    smooth = np.add.outer(np.arange(source[0]) * 3, np.arange(source[1]) * 2)
    for frame in (
        noise((*source, 3)),
        np.stack([smooth % 256, 255 - smooth % 256, smooth // 3 % 256], axis=-1).astype(np.uint8),
        np.where(noise((*source, 3)) < 128, 0, 255).astype(np.uint8),
    ):
        fitted = read(pixels, stretcher.fit(uploaded(pixels.device, frame)), (*size, 3))
        np.testing.assert_array_equal(fitted, twins.fit_frame(frame, size))
        np.testing.assert_array_equal(fitted, fit_frame(frame, size))


def test_a_frame_that_fits_is_its_own_model_input(pixels: GpuPixels) -> None:
    frame = uploaded(pixels.device, noise((8, 12, 3)))
    assert Stretcher(pixels, (8, 12), (8, 12)).fit(frame) is frame


def test_a_frame_far_too_large_is_refused(pixels: GpuPixels) -> None:
    with pytest.raises(UsageError, match="1300 pixels on a side is too large to become 10"):
        Stretcher(pixels, (5, 10), (9, 1300))


def camera_image(form: str, size: Size, padding: int) -> tuple[Bytes, int]:
    """Noise in rows of the form's length and some padding, and their stride."""
    height, width = size
    pairs = -(-width // 2)
    stride = {"rgb": 3 * width, "bgr": 3 * width, "yuyv": 4 * pairs, "nv12": 2 * pairs}[form]
    rows = height + -(-height // 2) if form == "nv12" else height
    return noise((rows, stride + padding), seed=height), stride + padding


@pytest.mark.parametrize("padding", [0, 1, 29])
@pytest.mark.parametrize("size", CAMERAS, ids=str)
@pytest.mark.parametrize("form", FORMS)
def test_camera_images_become_frames(
    pixels: GpuPixels, form: str, size: Size, padding: int
) -> None:
    image, stride = camera_image(form, size, padding)
    camera = Camera(pixels, form, size, stride)
    assert camera.shape == image.shape
    frame = read(pixels, camera.take(image), (*size, 3))
    np.testing.assert_array_equal(frame, twins.rgb_of(image, form, size))


def test_a_camera_takes_no_image_of_another_shape(pixels: GpuPixels) -> None:
    with pytest.raises(ValueError, match="longer than 23 bytes"):
        Camera(pixels, "rgb", (4, 8), stride=23)
    with pytest.raises(ValueError, match=r"uint8 \(4, 24\), got uint8 \(4, 25\)"):
        Camera(pixels, "rgb", (4, 8)).take(np.zeros((4, 25), np.uint8))


def noisy_logits(shape: tuple[int, int, int], seed: int = 1) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def labelled(pixels: GpuPixels, logits: NDArray[np.float32], size: Size) -> Bytes:
    labels = pixels.device.allocate(size[0] * size[1])
    shape = (logits.shape[0], logits.shape[1], logits.shape[2])
    Labeller(pixels, shape, size).label(uploaded(pixels.device, logits), labels)
    return read(pixels, labels, size)


@pytest.mark.parametrize("classes", [1, 2, 11, 254])
@pytest.mark.parametrize(("source", "size"), LABELS)
def test_labels_are_the_twins(pixels: GpuPixels, source: Size, size: Size, classes: int) -> None:
    coarse = noisy_logits((classes, 3, 4))
    for logits in (noisy_logits((classes, *source)), twins.upsample(coarse, source)):
        labels = labelled(pixels, logits, size)
        np.testing.assert_array_equal(labels, twins.upsample_argmax(logits, size))
        np.testing.assert_array_equal(labels, upsample_argmax(logits, size))


def test_ties_go_to_the_first_class(pixels: GpuPixels) -> None:
    """Small integers and weights that are eighths: interpolation is exact, so ties are ties."""
    logits = np.random.default_rng(3).integers(0, 3, (9, 10, 10)).astype(np.float32)
    labels = labelled(pixels, logits, (40, 40))
    np.testing.assert_array_equal(labels, twins.upsample_argmax(logits, (40, 40)))


@pytest.mark.parametrize("size", [(6, 7), (24, 28), (23, 31)])
def test_nan_counts_as_the_largest_and_excluded_classes_never_win(
    pixels: GpuPixels, size: Size
) -> None:
    logits = noisy_logits((4, 6, 7))
    logits[2, 1, 1] = np.nan
    logits[3, 4, 4] = logits[2, 4, 4] = np.nan
    logits[1] = -np.inf
    labels = labelled(pixels, logits, size)
    np.testing.assert_array_equal(labels, twins.upsample_argmax(logits, size))
    assert 1 not in labels
    assert 2 in labels


@pytest.mark.parametrize("size", [(1, 1), (20, 30), (37, 53)])
def test_blended_colours_are_the_cpus(pixels: GpuPixels, size: Size) -> None:
    painter = Painter(pixels, PALETTE)
    frame, labels = noise((*size, 3)), noise(size) % 4
    labels[labels == 3] = 255
    count, mixed = size[0] * size[1], pixels.device.allocate(3 * size[0] * size[1])
    for alpha in (0.5, 0.45, 0.0, 1.0):
        painter.blend(
            uploaded(pixels.device, frame), uploaded(pixels.device, labels), count, alpha, mixed
        )
        expected = blend(frame, labels, PALETTE, alpha)
        np.testing.assert_array_equal(read(pixels, mixed, (*size, 3)), expected)


def test_a_palette_is_uploaded_once_for_each_opacity(
    host_device: Callable[..., HostDevice],
) -> None:
    device = host_device()
    with GpuPixels(device) as pixels:
        frame, labels = (
            uploaded(pixels.device, noise((2, 2, 3))),
            uploaded(pixels.device, noise((2, 2))),
        )
        painter, mixed = Painter(pixels, PALETTE), pixels.device.allocate(12)
        before = len(device.uploads)
        for alpha in (0.5, 0.5, 0.25, 0.25):
            painter.blend(frame, labels, 4, alpha, mixed)
        assert len(device.uploads) == before + 2


def test_buffers_are_given_back(host_device: Callable[..., HostDevice]) -> None:
    device = host_device()
    with GpuPixels(device) as pixels:
        Stretcher(pixels, (6, 8), (12, 16))
        Camera(pixels, "nv12", (6, 8))
        assert device.held > 0
    assert device.held == 0
