"""Which settings are best on some frames, and what that choice is worth on other ones.

**Objective**, in points against no CRF, over all the frames at once:

    mean over the classes of (IoU gained, a loss counted twice) + boundary F gained / 10
        - 0.2 passes that the fast mode makes over the pixels

mIoU + boundary F, that is, with three cautions, each from the bundled model on CamVid val. A CRF's
typical harm is to thin classes: plain sums chose settings that pay 5 points of signs for 6 of
pedestrians, and this trade did not hold on other frames (fitted +0.83 mIoU, cross-validated +0.58).
Boundary F moves about six times as far as mIoU (at best +6.0 and +1.0): with equal weight it would
decide alone. And a live stream pays for each pixel that the fast mode infers in each iteration: two
settings within 0.1 points of each other took 29 and 118 ms of a core. What loses mIoU ranks behind
what does not. Off is always a candidate.

**Search**, coarse to fine, on a list of frames: (1) off, the published settings and `DRAWS` points
spread over the grid are scored on every `EARLY`-th frame; the best `SURVIVORS` go on to all frames;
(2) from the best `BEAM` of them, one parameter at a time moves two rungs of its ladder, later one,
and the moves that help on early frames are also made together; again survivors go on to all frames,
until the best stays. Nothing is random but the points, and those follow from the seed.

**Cross-validation.** The same search runs for each of `FOLDS` contiguous blocks of frames on the
frames outside of it, less `GAP` next to it on either side (neighbours in a video are near copies),
and its winner is scored inside. What counts as the gain is the pooled score of all blocks: none of
the settings in it was chosen with a look at the frames it is scored on.

**What ships** is the winner of the same search on all frames. It is the procedure that was
cross-validated, and run on all frames it has seen more than any fold's; choosing among the folds'
winners instead would use the held-out scores twice.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from calibration.crf_tuning.grid import STOCK, Candidate, draws, neighbours, settle
from calibration.crf_tuning.trials import Trials
from engines.spec import CrfParams
from scenes.scores import Summary

DRAWS = 48
EARLY = 8
SURVIVORS = 6
BEAM = 2
TOGETHER = 4  # most moves that are made at once
STEPS = (2, 1)  # rungs
ROUNDS = 3  # most rounds at one step
FOLDS = 5
LOSS = 2.0  # what a lost point of a class's IoU counts
EDGES = 0.1  # what a point of boundary F counts
PRICE = 0.2  # points that one iteration over all pixels must bring, about 60 ms of a core
GAP = 2  # frames


@dataclass(frozen=True)
class Fold:
    """One block of frames and the settings that were chosen without it."""

    held_out: list[int]
    chosen: Candidate


def objective(passes: float, off: Summary, on: Summary) -> float:
    """What is maximised, in points; off has 0. Classes that one of the two lacks do not count.

    `passes` is `Trials.passes` of the candidate.
    """
    pairs = [(off.per_class[name], on.per_class[name]) for name in off.per_class]
    gains = [b - a for a, b in pairs if a is not None and b is not None]
    classes = sum(gain if gain > 0 else LOSS * gain for gain in gains) / len(gains)
    edges = (on.boundary_f or 0.0) - (off.boundary_f or 0.0)  # None: no two classes ever touch
    return classes + EDGES * edges - PRICE * passes


def search(trials: Trials, frames: Sequence[int], seed: int, name: str) -> Candidate:
    """The best settings on these frames; `name` is for the progress bar."""
    early = [index for index in frames if index % EARLY == 0]  # the same ones in every fold
    trials.announce(f"{name}, coarse")
    coarse = best(trials, [*STOCK.values(), *draws(DRAWS, seed)], early, SURVIVORS)
    beam = best(trials, coarse, frames, BEAM)
    for step in STEPS:
        for turn in range(ROUNDS):
            trials.announce(f"{name}, step {step}, round {turn + 1}")
            moves = [
                move for params in beam if params for move in moved(trials, params, step, early)
            ]
            promising = best(trials, moves, early, SURVIVORS)
            previous, beam = beam, best(trials, [*beam, *promising], frames, BEAM)
            if beam[0] == previous[0]:
                break
    return beam[0]


def moved(trials: Trials, params: CrfParams, step: int, frames: Sequence[int]) -> list[Candidate]:
    """Moves of one parameter, and of all parameters whose move helps on these frames together."""
    single = neighbours(params, step)
    ranking = best(trials, [params, *single], frames, len(single) + 2)
    helpful = [move for move in ranking[: ranking.index(params)] if move]
    most = min(len(helpful), TOGETHER)
    return [*single, *(join(params, helpful[:count]) for count in range(2, most + 1))]


def join(params: CrfParams, moves: Sequence[CrfParams]) -> Candidate:
    """`params` with every change that the moves make; of two for one parameter, the first's."""
    values = dataclasses.asdict(params)
    for move in reversed(moves):
        new = dataclasses.asdict(move)
        values |= {name: value for name, value in new.items() if value != getattr(params, name)}
    return settle(values)


def best(
    trials: Trials, candidates: Sequence[Candidate], frames: Sequence[int], count: int
) -> list[Candidate]:
    """The `count` best of the candidates and off, best first; of equal ones the earlier."""
    every = list(dict.fromkeys([None, *candidates]))
    found = trials.summaries(every, frames)
    off = found[0]
    ranks = [
        (s.miou >= off.miou, objective(trials.passes(c), off, s))
        for c, s in zip(every, found, strict=True)
    ]
    order = sorted(range(len(every)), key=ranks.__getitem__, reverse=True)
    return [every[index] for index in order[:count]]


def cross_validate(trials: Trials, seed: int) -> list[Fold]:
    """One search per block of frames, on the frames outside of it."""
    count = len(trials.frames)
    folds = []
    for number, block in enumerate(np.array_split(np.arange(count), FOLDS), start=1):
        first, last = int(block[0]), int(block[-1])
        outside = [i for i in range(count) if not first - GAP <= i <= last + GAP]
        chosen = search(trials, outside, seed, f"fold {number} of {FOLDS}")
        trials.summaries([None, chosen], block.tolist())
        folds.append(Fold(block.tolist(), chosen))
    return folds
