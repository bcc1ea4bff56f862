"""Measures graphs side by side: every frame goes through all of them in turn.

One pass, flat memory: scores are sums, and pictures are kept for the few worst frames alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from calibration.reporting import energy
from calibration.reporting.candidates import line_up
from calibration.reporting.meter import Meter
from calibration.reporting.rows import Row, make_row
from calibration.reporting.worst_frames import WorstFrame, WorstFrames
from crf.dense_crf import MILD
from crf.refinement import Refinement
from engines.bundle import Bundle
from engines.failures import Refused
from engines.labels import upsample_argmax
from engines.preprocess import fit_frame
from scenes.dataset import Dataset, Labels, Scene, spread
from scenes.scores import TrueBoundaries

WARM_UP = 3  # runs before the clock counts: the first ones allocate
SHOWN = ("int8", "mixed", "fp16")  # whose worst frames are shown: the first of these that is there


@dataclass(frozen=True)
class Measured:
    """All rows, FP32 first, tries last, and the worst frames of a reduced graph, worst first.

    `frame_sizes` are (H, W) as the frames came; `skipped` says which engines could not run here,
    `power` which meter told the energy, if any.
    """

    rows: list[Row]
    worst: list[WorstFrame]
    images: int
    frame_sizes: list[tuple[int, int]]
    skipped: list[str]
    power: str | None


def measure(
    bundle: Bundle,
    dataset: Dataset,
    limit: int | None = None,
    tries: bool = False,
    crf: str = "off",
) -> Measured:
    """Run every graph over the dataset, or over `limit` frames spread over it.

    With `tries` also what the build tried and did not ship; with a `crf` mode (fast or exact) the
    bundle's own graphs a second time, refined. The first frame is also the warm-up, untimed.
    """
    if not len(dataset):
        raise Refused("the split has no frame to measure on: check --data and --split")
    indices, spec = spread(len(dataset), limit), bundle.spec
    lineup = line_up(bundle, tries)
    refine = None if crf == "off" else Refinement(len(spec.classes), spec.crf or MILD, crf)
    with ExitStack() as stack:
        meters = [stack.enter_context(Meter(c, refine is not None)) for c in lineup.candidates]
        focus = shown_in_pictures(meters)
        worst = WorstFrames("" if focus is None else meters[focus].candidate.precision)
        warm_up(meters, refine, dataset[indices[0]])
        sizes = set()
        for turn, index in enumerate(tqdm(indices, "measuring", unit="frame", disable=None)):
            scene = dataset[index]
            sizes.add(scene.labels.shape)
            masks = compare(meters, refine, scene, turn)
            if focus is not None:
                worst.offer(index, scene, masks[0], masks[focus])
        power, millijoules = energy_of(meters, dataset[indices[0]])
    rows = make_rows(meters, crf, millijoules)
    pictures = worst.sorted(len(spec.classes))
    return Measured(rows, pictures, len(indices), sorted(sizes), lineup.skipped, power)


def shown_in_pictures(meters: Sequence[Meter]) -> int | None:
    """Which graph's worst frames are shown: a reduced one of the bundle that runs here."""
    for precision in SHOWN:
        for index, meter in enumerate(meters):
            candidate = meter.candidate
            if candidate.shipped and candidate.timed and candidate.precision == precision:
                return index
    return None


def warm_up(meters: Sequence[Meter], refine: Refinement | None, scene: Scene) -> None:
    """Run each graph a few times and forget the times; the CRF builds its lattice."""
    model_input = input_of(meters, scene)
    for meter in meters:
        for _ in range(WARM_UP):
            logits = meter.run(model_input)
        meter.plain.milliseconds.clear()
    if refine is not None:
        refine(scene.frame, logits)


def input_of(meters: Sequence[Meter], scene: Scene) -> NDArray[np.uint8]:
    """The frame at the model's size; all candidates have the same."""
    return fit_frame(scene.frame, meters[0].candidate.spec.input_size)


def compare(
    meters: Sequence[Meter], refine: Refinement | None, scene: Scene, turn: int
) -> list[Labels]:
    """Every graph's mask of one frame, at the size of its labels, all of them scored.

    Who runs first rotates from frame to frame, so that no graph always finds the caches as the
    same other one left them.
    """
    model_input = input_of(meters, scene)
    logits: dict[int, NDArray[np.float32]] = {}
    for step in range(len(meters)):
        which = (turn + step) % len(meters)
        logits[which] = meters[which].run(model_input)
    truth = TrueBoundaries(scene.labels, len(meters[0].candidate.spec.classes))
    masks = [upsample_argmax(logits[i], scene.labels.shape) for i in range(len(meters))]
    for index, meter in enumerate(meters):
        meter.plain.add(truth, masks[index], masks[0])
        if refine is not None and meter.refined is not None:
            meter.refined.add(truth, meter.refine(refine, scene, logits[index]), masks[0])
    return masks


def energy_of(meters: Sequence[Meter], scene: Scene) -> tuple[str | None, list[float | None]]:
    """The name of the power meter, and each graph's millijoules per frame where one can tell."""
    batch = input_of(meters, scene)[None]
    names: list[str] = []
    result: list[float | None] = []
    for meter in tqdm(meters, "energy", unit="graph", disable=None, leave=False):
        power = energy.meter(meter.candidate.target) if meter.candidate.timed else None
        if power is None:
            result.append(None)
            continue
        result.append(energy.per_frame(power, partial(meter.session.run, batch)))
        names.append(power.name)
    return ", ".join(dict.fromkeys(names)) or None, result


def make_rows(meters: Sequence[Meter], crf: str, millijoules: Sequence[float | None]) -> list[Row]:
    """The bundle's rows, FP32 first, then those with the CRF, then the tries."""
    fp32 = meters[0].plain.scores.summary()
    plain = [
        make_row(meter.candidate, meter.plain, fp32, None, joules)
        for meter, joules in zip(meters, millijoules, strict=True)
    ]
    refined = [
        make_row(meter.candidate, meter.refined, fp32, crf, None)
        for meter in meters
        if meter.refined is not None
    ]
    own = [row for row in plain if row.shipped]
    return [*own, *refined, *(row for row in plain if not row.shipped)]
