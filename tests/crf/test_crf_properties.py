"""What holds for every frame, all logits and any settings, found by random search."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from crf import DenseCrf
from crf.dense_crf import MODES
from engines.failures import UsageError
from engines.labels import upsample
from engines.spec import CrfParams

Floats = NDArray[np.float32]

search = settings(deadline=None, max_examples=50)

seeds = st.integers(0, 2**32)
modes = st.sampled_from(MODES)
sigmas = st.floats(0.5, 100) | st.sampled_from([1e3, 1e6, 1e9])
tiny_sigmas = st.sampled_from([1e-9, 1e-6, 1e-3, 0.01, 0.03, 0.1, 0.3, 1.0])
mild_weights = st.floats(0, 10)
any_weights = st.floats(-50, 50) | st.sampled_from([0.0, -1e9, 1e9])

# Logits that are all equal; subnormal; a network's; saturated; nearly the largest there are.
SCALES = (0.0, 1e-42, 1.0, 1e4, 4e37)


def parameters(
    weights: st.SearchStrategy[float], widths: st.SearchStrategy[float] = sigmas
) -> st.SearchStrategy[CrfParams]:
    return st.builds(
        CrfParams,
        w1=weights,
        sigma_alpha=widths,
        sigma_beta=widths,
        w2=weights,
        sigma_gamma=widths,
        iterations=st.integers(0, 3),
        temperature=st.sampled_from([1e-9, 1e-3, 0.5, 1.0, 7.0, 1e3, 1e9]),
    )


@dataclass(frozen=True)
class Case:
    """A frame [H, W, 3], and logits [C, h, w] that are multiples of scale / 8 or -inf."""

    frame: NDArray[np.uint8]
    logits: Floats

    @property
    def size(self) -> tuple[int, int]:
        return self.frame.shape[0], self.frame.shape[1]

    def crf(self, params: CrfParams, backend: str, mode: str = "exact") -> DenseCrf:
        return DenseCrf(self.size, len(self.logits), params, backend, mode)

    def marginals(self, params: CrfParams, backend: str, mode: str = "exact") -> Floats:
        return self.crf(params, backend, mode).marginals(self.frame, self.logits)


@st.composite
def cases(draw: st.DrawFn, scales: tuple[float, ...] = (1.0,), excluded: bool = False) -> Case:
    """Sizes 1 to 40, 1 to 30 classes, maps of stride 1 to 4, frames from one colour to noise."""
    size = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    classes, stride = draw(st.integers(1, 30)), draw(st.sampled_from([1, 2, 4]))
    rng = np.random.default_rng(draw(seeds))
    shape = (classes, -(-size[0] // stride), -(-size[1] // stride))
    eighths = np.clip(rng.normal(0, 16, shape).round(), -60, 60)
    logits = (eighths / 8 * draw(st.sampled_from(scales))).astype(np.float32)
    if excluded:
        logits[rng.random(shape) < draw(st.floats(0, 1))] = -np.inf
        logits[0] = np.where(np.isfinite(logits).any(axis=0), logits[0], 0)
    frame = np.full((*size, 3), rng.integers(0, 256, 3), np.uint8)
    frame[:, draw(st.integers(0, size[1])) :] = rng.integers(0, 256, 3)
    if draw(st.booleans()):
        frame = rng.integers(0, 256, frame.shape).astype(np.uint8)
    return Case(frame, logits)


def assert_probabilities(marginals: Floats, case: Case) -> None:
    assert marginals.shape == (len(case.logits), *case.size)
    assert marginals.min() >= 0
    np.testing.assert_allclose(marginals.sum(axis=0), 1, atol=1e-5)


@search
@given(cases(SCALES, excluded=True), parameters(any_weights), modes)
def test_marginals_are_probabilities(
    backend: str, case: Case, params: CrfParams, mode: str
) -> None:
    crf = case.crf(params, backend, mode)
    assert_probabilities(crf.marginals(case.frame, case.logits), case)
    assert crf.refine(case.frame, case.logits).max() < len(case.logits)


@search
@given(cases(), parameters(mild_weights, tiny_sigmas), modes)
def test_tiny_sigmas_work_or_are_refused(
    backend: str, case: Case, params: CrfParams, mode: str
) -> None:
    """Where a lattice would need more than its keys can tell apart."""
    said = advice = "raise sigma_alpha, sigma_beta or sigma_gamma"
    try:
        assert_probabilities(case.marginals(params, backend, mode), case)
    except UsageError as refusal:
        said = str(refusal)
    assert advice in said


@search
@given(cases(excluded=True), parameters(mild_weights), seeds)
def test_renaming_the_classes_renames_the_marginals(
    backend: str, case: Case, params: CrfParams, seed: int
) -> None:
    """Within 1e-3: sums over the classes are taken in another order."""
    order = np.random.default_rng(seed).permutation(len(case.logits))
    renamed = replace(case, logits=case.logits[order]).marginals(params, backend)
    np.testing.assert_allclose(renamed, case.marginals(params, backend)[order], atol=1e-3)


@search
@given(cases(), parameters(mild_weights), seeds, modes)
def test_a_constant_added_at_a_pixel_changes_nothing(
    backend: str, case: Case, params: CrfParams, seed: int, mode: str
) -> None:
    """Not one bit: eighths plus whole numbers are exact in float32."""
    constants = np.random.default_rng(seed).integers(-1000, 1000, case.logits.shape[1:])
    raised = replace(case, logits=case.logits + constants.astype(np.float32))
    expected = case.marginals(params, backend, mode)
    np.testing.assert_array_equal(raised.marginals(params, backend, mode), expected)


@search
@given(cases((1.0, 100.0)), parameters(st.just(0.0), tiny_sigmas), modes)
def test_without_weights_the_largest_logit_wins(
    backend: str, case: Case, params: CrfParams, mode: str
) -> None:
    """Within rounding; and no sigma is too small for a lattice that is not built."""
    labels = case.crf(params, backend, mode).refine(case.frame, case.logits).astype(np.intp)
    scores = upsample(case.logits, case.size) / params.temperature
    chosen = np.take_along_axis(scores, labels[None], axis=0)[0]
    np.testing.assert_allclose(chosen, scores.max(axis=0), rtol=1e-5, atol=1e-5)
