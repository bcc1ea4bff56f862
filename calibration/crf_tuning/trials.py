"""What settings of the CRF score on cached frames; no pair of the two is ever computed twice.

Confusion matrices and boundary counts are kept per frame and add up, so the score of any subset of
frames is a sum. A kept pair takes 8 C² bytes: 1 kB for 11 classes, 180 kB for 150.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from types import TracebackType

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from calibration.crf_tuning.frames import CachedFrame
from calibration.crf_tuning.grid import Candidate
from crf.dense_crf import DenseCrf
from crf.sampling import margin as crf_margin
from engines.labels import upsample_argmax
from engines.machine import usable_cores
from engines.spec import CrfParams
from scenes.dataset import Labels
from scenes.scores import SegmentationScores, Summary

Job = tuple[Candidate, list[int]]  # a candidate, and the frames it has yet to be scored on


class Trials:
    """Scores candidates on all cores, one candidate per core: a CRF frame has serial parts.

    Args:
        frames: All frames; methods name them by index.
        classes: Names of the classes.
    """

    def __init__(self, frames: Sequence[CachedFrame], classes: Sequence[str]) -> None:
        self.frames, self._classes = frames, tuple(classes)
        self._parts: dict[Candidate, dict[int, SegmentationScores]] = {}
        self._pool = ThreadPoolExecutor(usable_cores())
        self._progress = tqdm(total=0, unit="frame", disable=None)

    def summaries(self, candidates: Iterable[Candidate], frames: Sequence[int]) -> list[Summary]:
        """The scores of each candidate over these frames."""
        candidates = list(candidates)
        jobs = [(c, self._missing(c, frames)) for c in dict.fromkeys(candidates)]
        self._compute([job for job in jobs if job[1]])
        return [self.pooled([(candidate, frames)]) for candidate in candidates]

    def pooled(self, shares: Iterable[tuple[Candidate, Sequence[int]]]) -> Summary:
        """One score over all shares, each some frames under a candidate that was tried on them."""
        scores = SegmentationScores(self._classes)
        for candidate, frames in shares:
            for index in frames:
                scores.merge(self._parts[candidate][index])
        return scores.summary()

    def passes(self, candidate: Candidate) -> float:
        """How often the fast mode infers each pixel, on average over the frames: its iterations
        times the share of pixels where the network is not far enough ahead with one class."""
        if candidate is None:
            return 0.0
        unsure = np.searchsorted(self._leads, crf_margin(candidate)) / len(self._leads)
        return float(candidate.iterations * unsure)

    @cached_property
    def _leads(self) -> NDArray[np.float32]:
        """How far the best logit is ahead of the next, at all points of all frames, sorted."""
        leads = []
        for item in self.frames:
            second, first = np.partition(item.logits, -2, axis=0)[-2:]
            leads.append((first - second).ravel())
        return np.sort(np.concatenate(leads))

    def announce(self, stage: str) -> None:
        """Name the stage of the search in the progress bar."""
        self._progress.set_description(stage)

    @property
    def tried(self) -> dict[Candidate, list[int]]:
        """Every candidate with the frames it was scored on, in the order of their first trial."""
        return {candidate: sorted(parts) for candidate, parts in self._parts.items()}

    def _missing(self, candidate: Candidate, frames: Sequence[int]) -> list[int]:
        done = self._parts.setdefault(candidate, {})
        return [index for index in frames if index not in done]

    def _compute(self, jobs: Sequence[Job]) -> None:
        self._progress.total += sum(len(frames) for _, frames in jobs)
        for (candidate, frames), parts in zip(jobs, self._pool.map(self._run, jobs), strict=True):
            self._parts[candidate].update(parts)
            self._progress.update(len(frames))

    def _run(self, job: Job) -> dict[int, SegmentationScores]:
        candidate, indices = job
        mask = Masks(len(self._classes), candidate)
        parts = {}
        for index in indices:
            part = SegmentationScores(self._classes)
            part.compare(self.frames[index].truth, mask(self.frames[index]))
            parts[index] = part
        return parts

    def __enter__(self) -> Trials:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._progress.close()


class Masks:
    """The masks of one candidate: a single-threaded CRF per size of frame, or none."""

    def __init__(self, classes: int, params: CrfParams | None) -> None:
        self._classes, self._params = classes, params
        self._built: dict[tuple[int, ...], DenseCrf] = {}

    def __call__(self, item: CachedFrame) -> Labels:
        """Labels [H, W] of a frame."""
        size = item.truth.labels.shape
        if self._params is None:
            return upsample_argmax(item.logits, size)
        if size not in self._built:
            self._built[size] = DenseCrf(size, self._classes, self._params, threads=1)
        return self._built[size].refine(item.frame, item.logits)
