"""What a tuning found, and why its settings are used or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from calibration.crf_tuning.grid import STOCK, Candidate, text
from calibration.crf_tuning.search import DRAWS, EDGES, FOLDS, GAP, LOSS, PRICE, Fold
from calibration.crf_tuning.trials import Trials
from scenes.scores import Summary

NOISE = 0.2  # points of mIoU: less is what another few frames could take back
METHOD: dict[str, str | int | float] = {  # with seed, frames and versions, the same comes out
    "objective": (
        f"mean IoU gained (a class's loss times {LOSS:g}) + {EDGES:g} boundary F gained "
        f"- {PRICE:g} passes of the fast mode over all pixels, in points; "
        "what loses mIoU ranks behind what does not"
    ),
    "draws": DRAWS,
    "folds": FOLDS,
    "gap": GAP,
    "noise": NOISE,
}


@dataclass(frozen=True)
class Gain:
    """A candidate's scores less those of no CRF on the same frames, in points.

    `frames` is how many those are; `name` is set for published settings.
    """

    name: str | None
    params: Candidate
    frames: int
    miou: float
    boundary_f: float | None
    trimap_accuracy: float | None


@dataclass(frozen=True)
class FoldGain:
    """One block of frames, the settings chosen without it, and their gain inside it."""

    first: str
    last: str
    gain: Gain


@dataclass(frozen=True)
class About:
    """What was tuned, on what, by what."""

    model: str
    precision: str
    data: str
    split: str
    images: int
    images_in_split: int
    frame_size: list[int]  # of the first frame: sigmas are pixels of it
    seed: int
    measured_at: str
    seconds: float
    weights: dict[str, Any]  # their file's name and sha256
    graph: str  # sha256 of the engine's ONNX
    machine: dict[str, str | int | float]


@dataclass(frozen=True)
class Tuning:
    """The evidence, as it is stored and written as JSON; scores in percent.

    `after` is cross-validated: on every frame by settings that were chosen without its block.
    `fitted` is what `chosen`, the winner on all frames, scores on those same frames; `params` is
    `chosen` if the verdict is for it, else None: off. `tried` counts all settings, `candidates`
    holds those that came as far as all frames, best mIoU first.
    """

    params: Candidate
    verdict: str
    before: Summary
    after: Summary
    chosen: Candidate
    fitted: Summary
    folds: list[FoldGain]
    tried: int
    candidates: list[Gain]
    method: dict[str, str | int | float]
    about: About


def conclude(trials: Trials, chosen: Candidate, folds: Sequence[Fold], about: About) -> Tuning:
    """Score the winner, the folds' winners and the published settings, and judge."""
    everything = range(len(trials.frames))
    before, fitted, *_ = trials.summaries([None, chosen, *STOCK.values()], everything)
    after = trials.pooled([(fold.chosen, fold.held_out) for fold in folds])
    params, verdict = judge(before, after, chosen)
    tried = trials.tried
    finalists = [c for c, frames in tried.items() if c and len(frames) == len(everything)]
    candidates = [gain(trials, candidate, everything) for candidate in finalists]
    return Tuning(
        params=params,
        verdict=verdict,
        before=before,
        after=after,
        chosen=chosen,
        fitted=fitted,
        folds=fold_gains(trials, folds),
        tried=len(tried) - 1,  # less off
        candidates=sorted(candidates, key=lambda g: -g.miou),
        method=METHOD,
        about=about,
    )


def judge(before: Summary, after: Summary, chosen: Candidate) -> tuple[Candidate, str]:
    """The settings to use, or None, and the reason in one sentence."""
    miou = after.miou - before.miou
    edges = difference(after.boundary_f, before.boundary_f)
    gains = f"{miou:+.2f} mIoU and {edges or 0.0:+.2f} boundary F"
    if chosen is None:
        return None, "off: no settings beat no CRF on all frames together"
    if miou < NOISE:
        few = "loses mIoU" if miou < 0 else f"is below the noise of {NOISE} mIoU"
        return None, f"off: on frames not used to choose, the best settings {few} ({gains})"
    if edges is not None and edges < 0:
        return None, f"off: on frames not used to choose, boundaries get worse ({gains})"
    return chosen, f"on: {text(chosen)} gains {gains} on frames not used to choose"


def fold_gains(trials: Trials, folds: Sequence[Fold]) -> list[FoldGain]:
    """Every fold with its held-out gain."""
    names = [item.name for item in trials.frames]
    return [
        FoldGain(names[f.held_out[0]], names[f.held_out[-1]], gain(trials, f.chosen, f.held_out))
        for f in folds
    ]


def gain(trials: Trials, candidate: Candidate, frames: Sequence[int]) -> Gain:
    """What a candidate that was tried gains over off on these frames."""
    off, on = (trials.pooled([(who, frames)]) for who in (None, candidate))
    return Gain(
        name=published(candidate),
        params=candidate,
        frames=len(frames),
        miou=on.miou - off.miou,
        boundary_f=difference(on.boundary_f, off.boundary_f),
        trimap_accuracy=difference(on.trimap_accuracy, off.trimap_accuracy),
    )


def published(candidate: Candidate) -> str | None:
    """The name under which settings are known."""
    return next((name for name, params in STOCK.items() if params == candidate), None)


def difference(after: float | None, before: float | None) -> float | None:
    """Points gained; None where a score does not exist."""
    return None if after is None or before is None else after - before
