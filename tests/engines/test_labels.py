"""From logits to labels and probabilities: the C++ loops against their NumPy twins and PyTorch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engines import _native, twins
from engines.labels import upsample, upsample_argmax, upsample_softmax

SIZES = [
    pytest.param((23, 30), (90, 120), id="stride-4"),
    pytest.param((23, 30), (89, 117), id="odd"),
    pytest.param((23, 30), (23, 30), id="same"),
    pytest.param((23, 30), (10, 12), id="shrink"),
    pytest.param((1, 1), (7, 5), id="one-cell"),
    pytest.param((1, 1), (1, 1), id="one-pixel"),
    pytest.param((1, 9), (4, 36), id="one-row"),
    pytest.param((9, 1), (36, 4), id="one-column"),
    pytest.param((2, 3), (5, 1300), id="cells-wider-than-a-block"),
    pytest.param((3, 400), (4, 1601), id="several-blocks"),
]
THREADS = [1, 2, 3, 7]


def street_like(size: tuple[int, int], classes: int, seed: int = 0) -> NDArray[np.float32]:
    """Logits [C, h, w] with regions, not noise: a coarse random map, enlarged."""
    coarse = np.random.default_rng(seed).normal(size=(classes, 5, 6)).astype(np.float32)
    return twins.upsample(coarse, size)


def noise(shape: tuple[int, int, int], seed: int = 1) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("classes", [1, 2, 11, 150, 254])
@pytest.mark.parametrize(("source", "size"), SIZES)
def test_every_loop_equals_its_twin(
    source: tuple[int, int], size: tuple[int, int], classes: int
) -> None:
    logits = street_like(source, classes)
    labels = upsample_argmax(logits, size)
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, twins.upsample_argmax(logits, size))
    np.testing.assert_array_equal(upsample(logits, size), twins.upsample(logits, size))
    np.testing.assert_allclose(
        upsample_softmax(logits, size), twins.upsample_softmax(logits, size), rtol=2e-6, atol=1e-7
    )


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 30), st.integers(1, 12), st.integers(1, 40)),
    size=st.tuples(st.integers(1, 40), st.integers(1, 90)),
    seed=st.integers(0, 2**16),
)
def test_labels_hold_on_pure_noise(
    shape: tuple[int, int, int], size: tuple[int, int], seed: int
) -> None:
    logits = noise(shape, seed)
    np.testing.assert_array_equal(
        upsample_argmax(logits, size), twins.upsample_argmax(logits, size)
    )


@pytest.mark.parametrize("level", _native.simd_levels())
@pytest.mark.parametrize("threads", THREADS)
def test_neither_threads_nor_instructions_change_a_bit(level: str, threads: int) -> None:
    logits = noise((13, 17, 29))
    size = (61, 118)
    labels = np.empty(size, np.uint8)
    values, marginals = np.empty((2, 13, *size), np.float32)
    _native.upsample_argmax(logits, labels, threads, level)
    _native.upsample(logits, values, threads, level)
    _native.upsample_softmax(logits, marginals, threads, level)
    np.testing.assert_array_equal(labels, upsample_argmax(logits, size))
    np.testing.assert_array_equal(values, upsample(logits, size))
    np.testing.assert_array_equal(marginals, upsample_softmax(logits, size))


def test_a_level_that_the_machine_lacks_is_an_error() -> None:
    with pytest.raises(ValueError, match="SIMD level mmx"):
        _native.upsample_argmax(noise((2, 3, 3)), np.empty((3, 3), np.uint8), 1, "mmx")


def test_ties_go_to_the_first_class() -> None:
    """Small integers and weights that are eighths: interpolation is exact, so ties are ties."""
    rng = np.random.default_rng(3)
    logits = rng.integers(0, 3, (9, 20, 20)).astype(np.float32)
    labels = upsample_argmax(logits, (80, 80))
    np.testing.assert_array_equal(labels, twins.upsample_argmax(logits, (80, 80)))
    assert not upsample_argmax(np.zeros((9, 4, 4), np.float32), (16, 16)).any()


def test_a_class_that_wins_no_corner_can_win_between_them() -> None:
    logits = np.array([[[10, 0]], [[0, 10]], [[9, 9]]], np.float32)
    assert set(upsample_argmax(logits, (4, 8)).ravel()) == {0, 1, 2}


@pytest.mark.parametrize(
    "arranged",
    [
        pytest.param(lambda x: np.asfortranarray(x), id="fortran"),
        pytest.param(lambda x: np.ascontiguousarray(x[:, :, ::-1])[:, :, ::-1], id="mirrored"),
        pytest.param(lambda x: np.repeat(x, 2, axis=1)[:, ::2], id="every-other-row"),
        pytest.param(lambda x: x.transpose(1, 2, 0).copy().transpose(2, 0, 1), id="channels-last"),
        pytest.param(lambda x: x.astype(np.float64), id="float64"),
    ],
)
def test_any_layout_of_the_logits_gives_the_same(
    arranged: Callable[[NDArray[np.float32]], NDArray[np.floating]],
) -> None:
    logits = noise((5, 12, 15))
    other = arranged(logits)
    np.testing.assert_array_equal(
        upsample_argmax(other, (47, 61)), upsample_argmax(logits, (47, 61))
    )
    np.testing.assert_array_equal(
        upsample_softmax(other, (47, 61)), upsample_softmax(logits, (47, 61))
    )


def test_half_precision_logits_are_widened() -> None:
    logits = noise((5, 12, 15)).astype(np.float16)
    expected = twins.upsample_argmax(logits.astype(np.float32), (48, 60))
    np.testing.assert_array_equal(upsample_argmax(logits, (48, 60)), expected)


@pytest.mark.parametrize("size", [(6, 7), (24, 28), (23, 31)])
def test_nan_counts_as_the_largest_and_excluded_classes_never_win(size: tuple[int, int]) -> None:
    logits = noise((4, 6, 7))
    logits[2, 1, 1] = np.nan
    logits[3, 4, 4] = logits[2, 4, 4] = np.nan
    logits[1] = -np.inf
    labels = upsample_argmax(logits, size)
    np.testing.assert_array_equal(labels, twins.upsample_argmax(logits, size))
    np.testing.assert_array_equal(upsample(logits, size), twins.upsample(logits, size))
    assert 1 not in labels
    assert 2 in labels
    marginals = upsample_softmax(logits, size)
    np.testing.assert_array_equal(
        marginals[0], np.where(np.isnan(marginals[2]), np.nan, marginals[0])
    )
    assert (marginals[1][~np.isnan(marginals[1])] == 0).all()


def test_probabilities_of_huge_and_tiny_differences_stay_finite() -> None:
    logits = np.array([[[0.0]], [[-87.2]], [[-87.4]], [[-1e4]], [[-np.inf]]], np.float32)
    marginals = upsample_softmax(logits, (1, 1))[:, 0, 0]
    np.testing.assert_allclose(marginals[:2], [1, np.exp(-87.2)], rtol=1e-5)
    np.testing.assert_array_equal(marginals[2:], 0)
    np.testing.assert_array_equal(upsample_softmax(3e38 * np.ones((4, 2, 2)), (4, 4)), 0.25)


def test_probabilities_sum_to_one() -> None:
    total = upsample_softmax(30 * noise((21, 9, 11)), (36, 44)).sum(axis=0)
    np.testing.assert_allclose(total, 1, atol=3e-6)


@pytest.mark.parametrize("shape", [(4, 5), (0, 4, 5), (3, 0, 5), (256, 2, 2)])
def test_logits_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="1 to 255 classes"):
        upsample_argmax(np.zeros(shape, np.float32), (8, 8))


@pytest.mark.parametrize(("source", "size"), SIZES)
def test_upsample_equals_pytorch(source: tuple[int, int], size: tuple[int, int]) -> None:
    torch = pytest.importorskip("torch")
    logits = street_like(source, 11)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(logits)[None], size=size, mode="bilinear", align_corners=False
    )
    np.testing.assert_allclose(upsample(logits, size), expected[0].numpy(), atol=2e-5)
