"""Small frames with something to cut along, and logits that miss the edges by a few pixels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

Frame = NDArray[np.uint8]
Floats = NDArray[np.float32]
Case = tuple[Frame, Floats]


def _street(height: int, width: int) -> NDArray[np.intp]:
    """Four classes in perspective: sky 0, building 1, pole 2, road 3."""
    y, x = np.mgrid[:height, :width] / np.array([[[height]], [[width]]])
    labels = np.where(y > 0.55 + 0.1 * np.abs(x - 0.5), 3, 0)
    labels[(y > 0.2 + x) & (labels == 0)] = 1
    labels[(np.abs(x - 0.7) < 0.02) & (y > 0.3) & (y < 0.7)] = 2
    return labels


def _frame(kind: str, labels: NDArray[np.intp], rng: np.random.Generator) -> Frame:
    """RGB of `labels`: smooth shading, texture on top, or no relation at all."""
    height, width = labels.shape
    colours = np.array([[180, 200, 230], [140, 90, 70], [60, 60, 70], [90, 90, 95]])
    shade = np.linspace(-30, 30, width) + np.linspace(-20, 20, height)[:, None]
    frames = {
        "smooth": colours[labels] + shade[..., None],
        "textured": colours[labels] + shade[..., None] + rng.normal(0, 12, (height, width, 3)),
        "noise": rng.integers(0, 256, (height, width, 3)),
        "constant": np.full((height, width, 3), 127),
        "dark": colours[labels] // 20,
    }
    return np.asarray(np.clip(frames[kind], 0, 255), np.uint8)


@pytest.fixture(scope="session", params=["numpy", "cpu"])
def backend(request: pytest.FixtureRequest) -> str:
    """Each backend that runs on every machine; for the whole session, so that `given` takes it."""
    return str(request.param)


@pytest.fixture
def scene() -> Callable[..., Case]:
    """`scene(kind, height, width, classes=4)`: a frame and full-resolution logits for it."""

    def build(kind: str, height: int, width: int, classes: int = 4) -> Case:
        rng = np.random.default_rng(height * width + classes)
        labels = _street(height, width)
        shifted = np.roll(labels, (2, 3), axis=(0, 1)) % classes
        evidence = 2.5 * (np.arange(classes)[:, None, None] == shifted)
        logits = evidence + rng.normal(0, 1, evidence.shape)
        return _frame(kind, labels, rng), logits.astype(np.float32)

    return build
