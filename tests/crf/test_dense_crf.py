"""DenseCrf, with each backend: what it does to a frame, and what it says to wrong input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from crf import DenseCrf
from crf.numpy_crf import NumpyCrf
from crf.refinement import Refinement
from engines.failures import DeviceMissing, Refused, UsageError
from engines.labels import upsample, upsample_argmax
from engines.spec import CrfParams

Floats = NDArray[np.float32]
Case = tuple[NDArray[np.uint8], Floats]
Scenes = Callable[..., Case]

STOCK = CrfParams(10, 80, 13, 3, 3, iterations=5)
OFF = CrfParams(0, 80, 13, 0, 3, iterations=5)


@pytest.mark.parametrize("params", [OFF, replace(STOCK, iterations=0)], ids=["weights", "steps"])
def test_doing_nothing_is_the_argmax(scene: Scenes, params: CrfParams, backend: str) -> None:
    frame, logits = scene("textured", 40, 60)
    crf = DenseCrf((40, 60), 4, params, backend)
    np.testing.assert_array_equal(crf.refine(frame, logits), logits.argmax(axis=0))


def test_moves_a_border_onto_the_edge_of_the_frame(backend: str) -> None:
    """Black | white at column 20; the logits, unsure, put the border at 24."""
    frame = np.zeros((30, 40, 3), np.uint8)
    frame[:, 20:] = 255
    logits = np.zeros((2, 30, 40), np.float32)
    logits[0, :, :24] = 1
    logits[1, :, 24:] = 1
    labels = DenseCrf((30, 40), 2, STOCK, backend).refine(frame, logits)
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, frame[..., 0] == 255)


def test_labels_are_the_most_probable_classes(scene: Scenes, backend: str) -> None:
    frame, logits = scene("textured", 40, 60)
    crf = DenseCrf((40, 60), 4, STOCK, backend)
    expected = crf.marginals(frame, logits).argmax(axis=0)
    np.testing.assert_array_equal(crf.refine(frame, logits), expected)


def test_nothing_is_kept_from_one_frame_to_the_next(scene: Scenes, backend: str) -> None:
    crf = DenseCrf((40, 60), 4, STOCK, backend)
    first, other = scene("textured", 40, 60), scene("noise", 40, 60)
    before = crf.marginals(*first)
    crf.marginals(*other)
    np.testing.assert_array_equal(crf.marginals(*first), before)


def test_inputs_are_left_as_they_were(scene: Scenes, backend: str) -> None:
    frame, logits = scene("textured", 40, 60)
    copies = frame.copy(), logits.copy()
    DenseCrf((40, 60), 4, STOCK, backend).refine(frame, logits)
    np.testing.assert_array_equal(frame, copies[0])
    np.testing.assert_array_equal(logits, copies[1])


@pytest.mark.parametrize("size", [(40, 60), (41, 59)], ids=str)
def test_stride_4_logits_are_upsampled_bilinearly(
    scene: Scenes, size: tuple[int, int], backend: str
) -> None:
    frame, _ = scene("textured", *size)
    _, logits = scene("textured", 11, 15)
    crf = DenseCrf(size, 4, STOCK, backend)
    full = crf.marginals(frame, upsample(logits, size))
    np.testing.assert_allclose(crf.marginals(frame, logits), full, atol=1e-5)
    nothing = DenseCrf(size, 4, OFF, backend).refine(frame, logits)
    assert (nothing == upsample_argmax(logits, size)).mean() > 0.999  # ties within rounding


def test_half_precision_and_strided_inputs(scene: Scenes, backend: str) -> None:
    frame, logits = scene("textured", 40, 60)
    half = logits.astype(np.float16)
    crf = DenseCrf((20, 30), 4, STOCK, backend)
    expected = crf.marginals(frame[::2, ::2].copy(), half[:, ::2, ::2].astype(np.float32))
    ours = crf.marginals(frame[::2, ::2], half[:, ::2, ::2])
    np.testing.assert_array_equal(ours, expected)


def test_temperature_divides_the_logits(scene: Scenes, backend: str) -> None:
    frame, logits = scene("textured", 40, 60)
    hot = DenseCrf((40, 60), 4, replace(STOCK, temperature=2), backend).marginals(frame, logits * 2)
    cold = DenseCrf((40, 60), 4, STOCK, backend).marginals(frame, logits)
    np.testing.assert_array_equal(hot, cold)


def test_one_pixel(backend: str) -> None:
    frame = np.zeros((1, 1, 3), np.uint8)
    logits = np.array([0, 2, 1], np.float32).reshape(3, 1, 1)
    assert DenseCrf((1, 1), 3, STOCK, backend).refine(frame, logits).tolist() == [[1]]


def test_minus_infinity_at_stride_4_spreads_no_nan(scene: Scenes, backend: str) -> None:
    frame, _ = scene("textured", 40, 60)
    _, logits = scene("textured", 10, 15)
    logits[1] = -np.inf
    labels = DenseCrf((40, 60), 4, STOCK, backend).refine(frame, logits)
    assert not (labels == 1).any()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_logits_that_are_not_numbers_are_refused(scene: Scenes, bad: float, backend: str) -> None:
    frame, logits = scene("textured", 8, 8)
    logits[2, 3, 4] = bad
    with pytest.raises(Refused, match=r"NaN or infinity.*--precision fp32"):
        DenseCrf((8, 8), 4, STOCK, backend).refine(frame, logits)


@pytest.mark.parametrize("precision", [np.float16, np.float64])
def test_logits_beyond_their_precision_are_refused(
    scene: Scenes, precision: type[np.floating[Any]], backend: str
) -> None:
    """70000 is infinite in FP16; 1e39 is in the FP32 that every backend computes in."""
    frame, logits = scene("textured", 8, 8)
    with np.errstate(over="ignore"):
        wide = (logits.astype(np.float64) * (1e5 if precision == np.float16 else 1e39)).astype(
            precision
        )
    with pytest.raises(Refused, match="an overflow inside the network"):
        DenseCrf((8, 8), 4, STOCK, backend).refine(frame, wide)


def test_a_pixel_that_excludes_every_class_is_refused(scene: Scenes, backend: str) -> None:
    frame, logits = scene("textured", 8, 8)
    logits[:, 3, 4] = -np.inf
    with pytest.raises(Refused, match="infinity"):
        DenseCrf((8, 8), 4, STOCK, backend).refine(frame, logits)


@pytest.mark.parametrize("shape", [(4, 8, 9), (3, 8, 8), (4, 9, 8), (8, 8), (4, 0, 8)], ids=str)
def test_logits_of_another_shape_are_refused(shape: tuple[int, ...], backend: str) -> None:
    with pytest.raises(ValueError, match=r"takes \(4, 8, 8\) or a smaller map"):
        DenseCrf((8, 8), 4, STOCK, backend).refine(np.zeros((8, 8, 3), np.uint8), np.zeros(shape))


@pytest.mark.parametrize("size", [(9, 12), (5, 40), (40, 1), (1, 1)], ids=str)
@pytest.mark.parametrize("mode", ["exact", "fast"])
def test_frames_smaller_than_the_logits_are_refined(
    scene: Scenes, size: tuple[int, int], mode: str
) -> None:
    """As a stream or an archive may have them; the oracle takes logits of any size."""
    (frame, _), (_, logits) = scene("textured", *size), scene("textured", 12, 16)
    oracle = NumpyCrf(size, STOCK)
    oracle.run(frame, upsample(logits, size), None)
    labels = Refinement(4, STOCK, mode)(frame, logits)
    assert labels.shape == size
    if mode == "exact":
        np.testing.assert_array_equal(labels, oracle.labels())


@pytest.mark.parametrize(
    "frame", [np.zeros((8, 9, 3), np.uint8), np.zeros((8, 8, 3), np.float32)], ids=["size", "type"]
)
def test_frames_of_another_kind_are_refused(frame: NDArray[Any], backend: str) -> None:
    with pytest.raises(ValueError, match=r"takes uint8 \(8, 8, 3\)"):
        DenseCrf((8, 8), 4, STOCK, backend).refine(frame, np.zeros((4, 8, 8), np.float32))


def test_a_sigma_too_small_for_a_lattice_is_refused(backend: str) -> None:
    with pytest.raises(UsageError, match="raise sigma_alpha, sigma_beta or sigma_gamma"):
        DenseCrf((8, 8), 4, replace(STOCK, sigma_gamma=1e-4), backend)


@pytest.mark.parametrize(
    ("choice", "failure", "sentence"),
    [
        (
            {"backend": "cuda", "mode": "fast"},
            UsageError,
            "fast mode is the CPU's: use mode 'exact'",
        ),
        ({"backend": "gpu"}, UsageError, "unknown CRF backend 'gpu'; available: cpu, cuda, numpy"),
        ({"mode": "quick"}, UsageError, "unknown CRF mode 'quick'; available: exact"),
        ({"threads": 0}, UsageError, "at least 1 thread"),
    ],
    ids=str,
)
def test_what_is_not_here_is_an_error(
    choice: dict[str, Any], failure: type[Exception], sentence: str
) -> None:
    with pytest.raises(failure, match=sentence):
        DenseCrf((8, 8), 4, STOCK, **choice)


def test_without_a_gpu_there_is_no_other_backend_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engines.device.BINDINGS", {})
    with pytest.raises(DeviceMissing, match="no NVIDIA GPU can be used here"):
        DenseCrf((8, 8), 4, STOCK, backend="cuda")


@pytest.mark.parametrize(
    ("size", "classes"),
    [((0, 8), 4), ((1, 2**16), 4), ((2**14, 2**14), 4), ((8, 8), 0), ((8, 8), 255)],
    ids=str,
)
def test_sizes_out_of_range(size: tuple[int, int], classes: int) -> None:
    with pytest.raises(ValueError, match="out of range"):
        DenseCrf(size, classes, STOCK)
