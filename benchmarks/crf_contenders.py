"""Who competes in `benchmarks/crf.py`: modes of ours, and pydensecrf.

Both go from logits to labels. Ours are given the network's stride-4 logits and upsample them within
the timed region; pydensecrf is given them at full resolution, where it starts, for nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.crf_cases import Case, Size
from benchmarks.crf_row import PEER, PeerSplit, Split
from crf import DenseCrf
from crf.unary import LEAST_PROBABILITY
from engines.failures import DeviceMissing, Failure
from engines.labels import upsample_argmax
from engines.spec import CrfParams

Labels = NDArray[np.uint8]
Floats = NDArray[np.float32]

NO_TIME = 1e-6  # ms: a budget that leaves time for no iteration but the one that always runs


@dataclass(frozen=True)
class Turn:
    """A name, and what is timed under it."""

    name: str
    run: Callable[[Case], object]


@dataclass
class Tally:
    """Agreement with pydensecrf, added up over frames."""

    pixels: int = 0
    same: int = 0
    changed: int = 0
    kept: int = 0
    max_marginal_error: float = 0.0

    def add(self, labels: Labels, plain: Labels, theirs: Labels, error: float) -> None:
        """One frame: ours, the labels without a CRF, pydensecrf's, and the largest |dQ|."""
        same, changed = labels == theirs, plain != theirs
        self.pixels += same.size
        self.same += int(same.sum())
        self.changed += int(changed.sum())
        self.kept += int((same & changed).sum())
        self.max_marginal_error = max(self.max_marginal_error, error)


@dataclass
class Ours:
    """One mode of `DenseCrf` on one backend."""

    name: str
    backend: str
    mode: str
    threads: int
    crf: DenseCrf
    iterations: tuple[int, int] = (0, 0)  # that ran: without a limit, and with NO_TIME
    tally: Tally = field(default_factory=Tally)

    @property
    def turns(self) -> tuple[Turn, Turn]:
        """A whole run, and one with NO_TIME."""
        crf, name = self.crf, f"{self.name}/{self.threads}"
        return (
            Turn(name, lambda case: crf.refine(case.frame, case.logits)),
            Turn(f"{name} in no time", lambda case: crf.refine(case.frame, case.logits, NO_TIME)),
        )

    def judge(self, case: Case, theirs: Floats) -> None:
        """Compare with pydensecrf's marginals [C, H, W] of one frame; warms up, too."""
        crf, given = self.crf, (case.frame, case.logits)
        error = float(np.abs(crf.marginals(*given) - theirs).max())
        crf.refine(*given, NO_TIME)
        least = crf.iterations_run
        labels = crf.refine(*given)
        self.iterations = crf.iterations_run, least
        plain = upsample_argmax(case.logits, case.frame.shape[:2])
        self.tally.add(labels, plain, theirs.argmax(axis=0).astype(np.uint8), error)

    def split(self, whole_ms: float, short_ms: float) -> Split:
        """The median times of the two turns, as what happens once and what happens again."""
        most, least = self.iterations
        if most == least:
            return Split(most, None, None)
        iteration = (whole_ms - short_ms) / (most - least)
        return Split(most, whole_ms - most * iteration, iteration)


def open_ours(
    size: Size, params: CrfParams, modes: Sequence[str], threads: Sequence[int]
) -> tuple[list[Ours], dict[str, str]]:
    """All modes on each number of threads and on the GPU; for what cannot run, the reason."""
    opened, skipped = [], {}
    for mode in modes:
        for count in threads:
            crf = DenseCrf(size.frame, size.classes, params, "cpu", mode, count)
            opened.append(Ours(mode, "cpu", mode, count, crf))
        name = f"cuda-{mode}"
        try:
            crf = DenseCrf(size.frame, size.classes, params, "cuda", mode)
        except Failure as reason:
            skipped[name] = str(reason)
        else:
            opened.append(Ours(name, "cuda", mode, 1, crf))
    return opened, skipped


class PyDenseCrf:
    """pydensecrf with the same parameters: one thread, and a new object for each frame."""

    name = PEER

    def __init__(self, params: CrfParams) -> None:
        self._params = params
        self._stages: list[list[float]] = []
        self._new = require_pydensecrf().DenseCRF2D

    def run(self, case: Case) -> Labels:
        """Labels [H, W] of full-resolution logits; how long the stages took is kept."""
        marks = [time.perf_counter()]
        unary = unary_energies(case.full, self._params.temperature)
        marks.append(time.perf_counter())
        crf = self._build(unary, case)
        marks.append(time.perf_counter())
        marginals = np.asarray(crf.inference(self._params.iterations))
        marks.append(time.perf_counter())
        labels = np.asarray(marginals.argmax(axis=0), np.uint8).reshape(case.full.shape[1:])
        marks.append(time.perf_counter())
        self._stages.append([1e3 * (end - start) for start, end in pairwise(marks)])
        return labels

    def marginals(self, case: Case) -> Floats:
        """Q [C, H, W]."""
        crf = self._build(unary_energies(case.full, self._params.temperature), case)
        return np.array(crf.inference(self._params.iterations)).reshape(case.full.shape)

    def split(self) -> PeerSplit:
        """Medians of the stages over all runs."""
        unary, build, inference, labels = np.median(self._stages, axis=0).tolist()
        iterations = self._params.iterations
        return PeerSplit(unary, build, inference / iterations if iterations else None, labels)

    def _build(self, unary: Floats, case: Case) -> Any:
        """Its README's way; a term of weight 0 is left out, as ours is."""
        params, (classes, height, width) = self._params, case.full.shape
        crf = self._new(width, height, classes)
        crf.setUnaryEnergy(unary)
        if params.w2:
            crf.addPairwiseGaussian(sxy=params.sigma_gamma, compat=params.w2)
        if params.w1:
            crf.addPairwiseBilateral(
                sxy=params.sigma_alpha, srgb=params.sigma_beta, rgbim=case.frame, compat=params.w1
            )
        return crf


def unary_energies(logits: Floats, temperature: float) -> Floats:
    """What its `unary_from_softmax` gives of softmax(logits / temperature), float32 [C, H * W].

    Straight from the logits: two thirds of the time of softmax, clip and logarithm one by one.
    """
    scores = logits.reshape(len(logits), -1)
    scores = np.asarray(scores - scores.max(axis=0))
    if temperature != 1:
        scores /= np.float32(temperature)
    total = np.log(np.exp(scores).sum(axis=0))
    np.subtract(total, scores, out=scores)
    np.minimum(scores, np.float32(-np.log(LEAST_PROBABILITY)), out=scores)
    return scores


def require_pydensecrf() -> Any:
    """The library; without it there is nothing to compare with."""
    try:
        import pydensecrf.densecrf
    except ModuleNotFoundError:
        raise DeviceMissing(
            "pydensecrf is not installed, and this compares with it: pip install -e '.[dev]'"
        ) from None
    return pydensecrf.densecrf
