"""The search finds a known optimum, and a fold's winner is chosen without a look at its frames."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, field, replace

import pytest

from calibration.crf_tuning import search as crf_search
from calibration.crf_tuning.evidence import judge
from calibration.crf_tuning.grid import Candidate
from calibration.crf_tuning.search import (
    FOLDS,
    GAP,
    PRICE,
    best,
    cross_validate,
    join,
    objective,
    search,
)
from engines.spec import CrfParams
from scenes.scores import Summary

OPTIMUM = CrfParams(2.8, 28, 8, 1, 2, 3, 1.4)
OTHER = CrfParams(0.7, 10, 4, 4, 2, 1, 2)


def summary(miou: float, boundary_f: float | None) -> Summary:
    return Summary(miou, {"road": miou}, boundary_f, boundary_f, miou, 1)


@dataclass
class Scripted:
    """Trials whose scores fall with the distance, in rungs, from an optimum per frame."""

    optimum: dict[int, CrfParams]
    peak: float = 20.0
    loss: float = 0.0  # of mIoU, for every setting
    asked: list[tuple[list[Candidate], list[int]]] = field(default_factory=list)

    @property
    def frames(self) -> list[int]:
        return list(self.optimum)

    def summaries(self, candidates: Iterable[Candidate], frames: Sequence[int]) -> list[Summary]:
        every = list(candidates)
        self.asked.append((every, list(frames)))
        return [self.mean(candidate, frames) for candidate in every]

    def mean(self, candidate: Candidate, frames: Sequence[int]) -> Summary:
        if candidate is None:
            return summary(60.0, 50.0)
        gains = [self.peak - rungs(candidate, self.optimum[f]) for f in frames]
        return summary(60.0 - self.loss, 50.0 + 3 * sum(gains) / len(gains))

    def passes(self, candidate: Candidate) -> float:
        return 0.0 if candidate is None else 0.1 * candidate.iterations

    def announce(self, stage: str) -> None:
        assert stage


def rungs(one: CrfParams, other: CrfParams) -> float:
    pairs = zip(astuple(one), astuple(other), strict=True)
    return sum(abs(2 * math.log2(max(a, 0.18) / max(b, 0.18))) for a, b in pairs)


def find(trials: Scripted, frames: Sequence[int]) -> Candidate:
    return search(trials, frames, 0, "test")  # type: ignore[arg-type]


def test_the_search_climbs_to_the_optimum() -> None:
    trials = Scripted(dict.fromkeys(range(20), OPTIMUM))
    assert find(trials, range(20)) == OPTIMUM
    first = next(frames for _, frames in trials.asked)
    assert first == list(range(0, 20, crf_search.EARLY))


def test_the_search_is_deterministic() -> None:
    trials = Scripted(dict.fromkeys(range(20), OPTIMUM))
    again = Scripted(dict.fromkeys(range(20), OPTIMUM))
    assert find(trials, range(20)) == find(again, range(20))
    assert trials.asked == again.asked


@pytest.mark.parametrize(
    ("peak", "loss"),
    [pytest.param(-1.0, 0.0, id="nothing helps"), pytest.param(20.0, 0.5, id="all lose mIoU")],
)
def test_off_wins_where_nothing_helps_or_edges_cost_classes(peak: float, loss: float) -> None:
    trials = Scripted(dict.fromkeys(range(20), OPTIMUM), peak=peak, loss=loss)
    assert find(trials, range(20)) is None


def test_equal_candidates_keep_their_order_and_off_is_first() -> None:
    trials = Scripted(dict.fromkeys(range(8), OPTIMUM), peak=0.0)
    assert best(trials, [OPTIMUM], range(8), 2) == [None, OPTIMUM]  # type: ignore[arg-type]


def test_no_fold_looks_at_its_own_frames_or_their_neighbours() -> None:
    trials = Scripted(dict.fromkeys(range(40), OPTIMUM))
    folds = cross_validate(trials, 0)  # type: ignore[arg-type]
    assert [index for fold in folds for index in fold.held_out] == list(range(40))
    assert len(folds) == FOLDS
    asked = iter(trials.asked)
    for fold in folds:
        hidden = range(fold.held_out[0] - GAP, fold.held_out[-1] + GAP + 1)
        for candidates, frames in asked:
            if frames == fold.held_out:
                assert candidates == [None, fold.chosen]
                break
            assert not set(frames) & set(hidden)


def test_each_fold_gets_the_best_of_the_others_not_its_own() -> None:
    """One block of frames wants other settings: its fold must not find them."""
    trials = Scripted({i: OTHER if i < 8 else OPTIMUM for i in range(40)})
    first, *_ = cross_validate(trials, 0)  # type: ignore[arg-type]
    assert first.chosen is not None
    assert rungs(first.chosen, OPTIMUM) < rungs(first.chosen, OTHER)


def test_the_objective_counts_a_loss_twice_edges_a_tenth_and_a_price_per_pass() -> None:
    classes: list[dict[str, float | None]] = [
        {"road": 50.0, "pole": 10.0, "car": 0.0, "sky": None},
        {"road": 53.0, "pole": 9.0, "car": None, "sky": None},
    ]
    off, on = (replace(summary(30.0, 50.0), per_class=iou) for iou in classes)
    assert objective(0.0, off, off) == 0
    assert objective(0.0, off, on) == (3 - 2 * 1) / 2
    edges = replace(on, boundary_f=55.0)
    assert objective(1.5, off, edges) == pytest.approx(0.5 + 0.5 - 1.5 * PRICE)
    flat = summary(60.0, None)
    assert objective(0.0, flat, flat) == 0


@pytest.mark.parametrize(
    ("after", "chosen", "says"),
    [
        pytest.param((60.9, 52.0), OPTIMUM, "on: ", id="helps"),
        pytest.param((60.1, 55.0), OPTIMUM, "noise of 0.2 mIoU", id="noise"),
        pytest.param((59.5, 58.0), OPTIMUM, "loses mIoU", id="edges bought with classes"),
        pytest.param((60.9, 49.0), OPTIMUM, "boundaries get worse", id="worse edges"),
        pytest.param((60.0, 50.0), None, "no settings beat no CRF", id="off chosen"),
        pytest.param((60.9, None), OPTIMUM, "on: ", id="no boundaries at all"),
    ],
)
def test_the_verdict(after: tuple[float, float | None], chosen: Candidate, says: str) -> None:
    before = summary(60.0, None if after[1] is None else 50.0)
    params, verdict = judge(before, summary(*after), chosen)
    assert says in verdict
    assert (params is None) == verdict.startswith("off: ")
    if params is not None:
        assert params == chosen


def test_moves_that_help_are_made_together_the_better_one_of_two_for_one_parameter() -> None:
    moves = [replace(OTHER, w1=2.0), replace(OTHER, w1=1.0), replace(OTHER, iterations=3)]
    assert join(OTHER, moves) == replace(OTHER, w1=2.0, iterations=3)
