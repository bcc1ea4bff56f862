"""The C++ core against the oracle: any size, any number of classes, each SIMD level."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from crf import DenseCrf
from crf.dense_crf import MODES
from crf.native_crf import NativeCrf
from crf.numpy_crf import NumpyCrf
from engines._native import simd_levels
from engines.failures import Refused
from engines.spec import CrfParams

Floats = NDArray[np.float32]
Case = tuple[NDArray[np.uint8], Floats]
Scenes = Callable[..., Case]

STOCK = CrfParams(10, 80, 13, 3, 3, iterations=5)
SETTINGS = {
    "10,80,13|3,3": STOCK,
    "4,49,5|3,3": CrfParams(4, 49, 5, 3, 3, iterations=5),
    "2,40,5|1,1": CrfParams(2, 40, 5, 1, 1, iterations=2),
    "appearance": CrfParams(4, 67, 3, 0, 1, iterations=3),
    "smoothness": CrfParams(0, 67, 3, 3, 2, iterations=3),
    "nothing": CrfParams(0, 67, 3, 0, 1, iterations=3),
    "repulsive": CrfParams(-2, 30, 8, 1, 2, iterations=3),
    "wide": CrfParams(3, 1e6, 1e6, 2, 1e6, iterations=3),
}
TOLERANCE = 1e-4  # as against pydensecrf in test_parity.py; most seen here: 2.2e-5

every_level = pytest.mark.parametrize("level", simd_levels())
every_mode = pytest.mark.parametrize("mode", MODES)


def assert_same(
    case: Case, params: CrfParams, level: str | None = None, fast: bool = False
) -> None:
    """Marginals within TOLERANCE, and labels that are the oracle's but for ties within it."""
    frame, logits = case
    core = NativeCrf(frame.shape[:2], len(logits), params, fast, threads=2, level=level)
    oracle = NumpyCrf(frame.shape[:2], params, fast)
    assert core.run(frame, logits, None) == oracle.run(frame, logits, None) == params.iterations
    expected = oracle.marginals()
    np.testing.assert_allclose(core.marginals(), expected, rtol=0, atol=TOLERANCE)
    chosen = np.take_along_axis(expected, core.labels()[None].astype(np.intp), axis=0)
    assert (expected.max(axis=0) - chosen).max() < 2 * TOLERANCE


@every_level
@pytest.mark.parametrize(
    "size",
    [(1, 1), (1, 37), (53, 1), (2, 2), (7, 5), (16, 16), (61, 79), (104, 104), (105, 103)],
    ids=str,
)
def test_equals_the_oracle_at_any_size(scene: Scenes, size: tuple[int, int], level: str) -> None:
    assert_same(scene("textured", *size), STOCK, level)


@pytest.mark.parametrize("params", [STOCK, SETTINGS["4,49,5|3,3"]], ids=["80/13", "49/5"])
def test_equals_the_oracle_over_several_tiles(scene: Scenes, params: CrfParams) -> None:
    assert_same(scene("textured", 300, 220, 11), params)


@every_level
@pytest.mark.parametrize("classes", [1, 2, 3, 11, 16, 17, 21, 33, 150, 254])
def test_equals_the_oracle_for_any_number_of_classes(
    scene: Scenes, classes: int, level: str
) -> None:
    assert_same(scene("textured", 22, 30, classes), SETTINGS["4,49,5|3,3"], level)


@pytest.mark.parametrize("params", SETTINGS.values(), ids=SETTINGS.keys())
@pytest.mark.parametrize("kind", ["smooth", "textured", "noise", "constant", "dark"])
def test_equals_the_oracle_on_any_frame(scene: Scenes, kind: str, params: CrfParams) -> None:
    assert_same(scene(kind, 45, 70), params)


@every_level
@pytest.mark.parametrize("temperature", [0.05, 3.0])
@pytest.mark.parametrize("iterations", [0, 1, 10])
def test_equals_the_oracle_after_any_number_of_iterations(
    scene: Scenes, iterations: int, temperature: float, level: str
) -> None:
    params = replace(STOCK, iterations=iterations, temperature=temperature)
    assert_same(scene("textured", 45, 70), params, level)


@every_level
def test_equals_the_oracle_where_classes_are_excluded(scene: Scenes, level: str) -> None:
    frame, _ = scene("textured", 45, 70)
    _, logits = scene("textured", 12, 18)
    logits[1] = -np.inf  # nowhere
    logits[2, :6] = -np.inf  # in the upper half; interpolated at its border
    logits[3] *= 1e37
    assert_same((frame, logits), STOCK, level)


@every_level
@pytest.mark.parametrize("stride", [1, 4])
@pytest.mark.parametrize("size", [(1, 1), (1, 37), (53, 2), (61, 79), (105, 110)], ids=str)
def test_the_fast_mode_equals_its_twin(
    scene: Scenes, size: tuple[int, int], stride: int, level: str
) -> None:
    """Sharp logits, so that there are settled blocks and not."""
    frame, logits = scene("textured", *size, 5)
    logits = np.ascontiguousarray(3 * logits[:, ::stride, ::stride])
    assert_same((frame, logits), SETTINGS["4,49,5|3,3"], level, fast=True)


@every_mode
def test_one_object_takes_logits_of_any_size(scene: Scenes, mode: str) -> None:
    frame, full = scene("textured", 104, 120)
    crf = DenseCrf((104, 120), 4, STOCK, "cpu", mode)
    for stride in (4, 1, 8, 4):
        logits = np.ascontiguousarray(full[:, ::stride, ::stride])
        alone = DenseCrf((104, 120), 4, STOCK, "cpu", mode).marginals(frame, logits)
        np.testing.assert_array_equal(crf.marginals(frame, logits), alone)


@every_mode
@pytest.mark.parametrize("kind", ["constant", "noise"], ids=["fewer", "more"])
def test_nothing_is_left_of_a_frame_with_fewer_or_more_vertices(
    scene: Scenes, kind: str, mode: str
) -> None:
    crf = DenseCrf((110, 130), 4, STOCK, "cpu", mode)
    case, other = scene("textured", 110, 130), scene(kind, 110, 130)
    before = crf.marginals(*case)
    crf.marginals(*other)
    np.testing.assert_array_equal(crf.marginals(*case), before)


@every_level
@pytest.mark.parametrize("classes", [1, 4, 8, 16, 19, 32, 64, 254])
@pytest.mark.parametrize("bad", [-np.inf, np.inf, np.nan])
def test_a_pixel_without_a_largest_logit_is_refused(
    scene: Scenes, bad: float, classes: int, level: str
) -> None:
    """Also where classes fill their vectors, so that no padding is left to be the largest."""
    frame, logits = scene("textured", 8, 8, classes)
    logits[:, 5, 3] = bad
    for fast in (False, True):
        with pytest.raises(Refused, match="NaN or infinity"):
            NativeCrf((8, 8), classes, STOCK, fast, 2, level).run(frame, logits, None)


def test_a_refused_frame_leaves_the_next_one_as_it_is(scene: Scenes) -> None:
    frame, logits = scene("textured", 45, 70)
    bad = logits.copy()
    bad[3, -1, -1] = np.nan
    crf = DenseCrf((45, 70), 4, STOCK, "cpu")
    before = crf.marginals(frame, logits)
    with pytest.raises(Refused, match="NaN or infinity"):
        crf.refine(frame, bad)
    np.testing.assert_array_equal(crf.marginals(frame, logits), before)


def test_read_only_and_strided_and_other_precisions(scene: Scenes) -> None:
    frame, logits = scene("textured", 45, 70)
    logits = logits.astype(np.float16).astype(np.float32)
    crf = DenseCrf((45, 70), 4, STOCK, "cpu")
    expected = crf.marginals(frame, logits)
    frame.setflags(write=False)
    logits.setflags(write=False)
    transposed = np.asfortranarray(frame), np.asfortranarray(logits)
    for other in (frame, logits), transposed, (frame, logits.astype(np.float16)):
        np.testing.assert_array_equal(crf.marginals(*other), expected)
    doubles = logits.astype(np.float64)
    np.testing.assert_array_equal(crf.marginals(frame[:], doubles[::1]), expected)


@every_mode
@pytest.mark.parametrize("budget_ms", [1e-3, 0.0, -5.0])
def test_a_spent_budget_is_one_iteration(scene: Scenes, budget_ms: float, mode: str) -> None:
    frame, logits = scene("textured", 110, 130)
    crf = DenseCrf((110, 130), 4, STOCK, "cpu", mode)
    labels = crf.refine(frame, logits, budget_ms)
    assert crf.iterations_run == 1
    one = DenseCrf((110, 130), 4, replace(STOCK, iterations=1), "cpu", mode)
    np.testing.assert_array_equal(labels, one.refine(frame, logits))


def test_a_large_budget_is_all_iterations(scene: Scenes) -> None:
    frame, logits = scene("textured", 110, 130)
    crf = DenseCrf((110, 130), 4, STOCK, "cpu")
    labels = crf.refine(frame, logits, budget_ms=1e9)
    assert crf.iterations_run == STOCK.iterations
    np.testing.assert_array_equal(labels, crf.refine(frame, logits))


def test_a_budget_asks_for_no_iteration_that_the_settings_do_not(scene: Scenes) -> None:
    crf = DenseCrf((45, 70), 4, replace(STOCK, iterations=0), "cpu")
    crf.refine(*scene("textured", 45, 70), budget_ms=1e9)
    assert crf.iterations_run == 0


def test_there_are_no_labels_before_a_frame() -> None:
    crf = NativeCrf((4, 4), 3, CrfParams(2, 40, 5, 1, 1, iterations=2))
    with pytest.raises(RuntimeError, match="no frame has been run"):
        crf.labels()
