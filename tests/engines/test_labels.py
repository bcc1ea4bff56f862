"""upsample + argmax: the fast path against the full interpolation, and that against PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from engines.labels import upsample, upsample_argmax

SIZES = [
    pytest.param((23, 30), (90, 120), id="stride-4"),
    pytest.param((23, 30), (89, 117), id="odd"),
    pytest.param((23, 30), (23, 30), id="same"),
    pytest.param((23, 30), (10, 12), id="shrink"),
    pytest.param((1, 1), (7, 5), id="one-cell"),
    pytest.param((1, 9), (4, 36), id="one-row"),
]


def street_like(size: tuple[int, int], classes: int, seed: int = 0) -> NDArray[np.float32]:
    """Logits [C, h, w] with regions, not noise: a coarse random map, enlarged."""
    coarse = np.random.default_rng(seed).normal(size=(classes, 5, 6)).astype(np.float32)
    return upsample(coarse, size)


@pytest.mark.parametrize("classes", [1, 2, 11, 150])
@pytest.mark.parametrize(("source", "size"), SIZES)
def test_fast_labels_equal_the_full_interpolation(
    source: tuple[int, int], size: tuple[int, int], classes: int
) -> None:
    logits = street_like(source, classes)
    labels = upsample_argmax(logits, size)
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, upsample(logits, size).argmax(0))


def test_fast_labels_hold_on_pure_noise() -> None:
    logits = np.random.default_rng(1).normal(size=(11, 45, 60)).astype(np.float32)
    expected = upsample(logits, (180, 240)).argmax(0)
    np.testing.assert_array_equal(upsample_argmax(logits, (180, 240)), expected)


@pytest.mark.parametrize(("source", "size"), SIZES)
def test_upsample_equals_pytorch(source: tuple[int, int], size: tuple[int, int]) -> None:
    torch = pytest.importorskip("torch")
    logits = street_like(source, 11)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(logits)[None], size=size, mode="bilinear", align_corners=False
    )
    np.testing.assert_allclose(upsample(logits, size), expected[0].numpy(), atol=2e-5)
