"""Measures the graphs of a bundle side by side: every frame goes through all of them in turn.

One pass, flat memory: scores are sums, and pictures are kept for the few worst frames alone.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from calibration.worst_frames import WorstFrame, WorstFrames
from engines.bundle import Bundle
from engines.failures import Refused
from engines.labels import upsample_argmax
from engines.manifest import BundleFile
from engines.onnxruntime_session import OnnxRuntimeSession
from engines.preprocess import fit_frame
from scenes.dataset import Dataset, Labels, Scene
from scenes.scores import SegmentationScores, Summary

WARM_UP = 3  # runs before the clock counts: the first ones allocate
HALF_NOTE = "FP16 weights; onnxruntime's CPU computes them in FP32"
S8_NOTE = "TensorRT's graph, its accuracy emulated on the CPU; a CPU's time would not be TensorRT's"

# (precision, flavour) -> the target that runs the graph, and what a reader must know about it
GRAPHS: dict[tuple[str, str | None], tuple[str, str | None]] = {
    ("fp32", None): ("cpu", None),
    ("fp16", None): ("cpu", HALF_NOTE),
    ("int8", "u8"): ("cpu", None),
    ("int8", "s8"): ("tensorrt", S8_NOTE),
}


@dataclass(frozen=True)
class Row:
    """One graph's line in the report: percent, milliseconds, bytes.

    Drops are FP32 minus this row, in points. `p50_ms` is None where this machine cannot tell the
    target's speed; `class_drop` is None for a class that occurs in neither mask.
    """

    precision: str
    flavour: str | None
    target: str
    method: str | None
    shipped: bool
    miou: float
    drop: float
    worst_class: str | None
    worst_class_drop: float | None
    per_class: dict[str, float | None]
    class_drop: dict[str, float | None]
    boundary_f: float | None
    trimap_accuracy: float | None
    pixel_accuracy: float
    agreement: float
    p50_ms: float | None
    p99_ms: float | None
    bytes: int
    note: str | None


@dataclass(frozen=True)
class Measured:
    """All rows, FP32 first, and the worst frames of the most reduced graph, worst first."""

    rows: list[Row]
    worst: list[WorstFrame]
    images: int


def measure(bundle: Bundle, dataset: Dataset, limit: int | None = None) -> Measured:
    """Run every graph that onnxruntime takes over the dataset, or `limit` frames spread over it.

    The first frame is also the warm-up, untimed.
    """
    indices = spread(len(dataset), limit)
    with ExitStack() as stack:
        meters = [stack.enter_context(Meter(bundle, file)) for file in graphs(bundle)]
        fp32, focus = meters[0], shown_in_pictures(meters)
        worst = WorstFrames(focus.file.precision or "")
        warm_up(meters, dataset[indices[0]])
        for turn, index in enumerate(tqdm(indices, "measuring", unit="frame", disable=None)):
            scene = dataset[index]
            masks = masks_in_turn(meters, scene, turn)
            for meter, mask in zip(meters, masks, strict=True):
                meter.add(scene.labels, mask, masks[0])
            if focus is not fp32:
                worst.offer(index, scene, masks[0], masks[meters.index(focus)])
    summaries = [meter.scores.summary() for meter in meters]
    method = (bundle.manifest.provenance.get("calibration") or {}).get("method")
    rows = [make_row(m, s, summaries[0], method) for m, s in zip(meters, summaries, strict=True)]
    return Measured(rows, worst.sorted(len(bundle.spec.classes)), len(indices))


def spread(count: int, limit: int | None) -> list[int]:
    """Indices of `limit` of `count` frames, evenly spread; all of them without a limit."""
    wanted = count if limit is None else min(limit, count)
    return [int(i) for i in np.linspace(0, count - 1, wanted).round()]


def graphs(bundle: Bundle) -> list[BundleFile]:
    """The bundle's graphs that onnxruntime can run here, FP32 first."""
    find = bundle.manifest.find
    files = [find("onnx", precision=p, flavour=f, target=None) for p, f in GRAPHS]
    if files[0] is None:
        raise Refused(
            f"{bundle.root} has no FP32 graph to compare with: build it again with "
            "python export/build_engine.py"
        )
    return [file for file in files if file is not None]


class Meter:
    """One graph under measurement: its session, its scores, its times."""

    def __init__(self, bundle: Bundle, file: BundleFile) -> None:
        self.file = file
        self.session = OnnxRuntimeSession(bundle.read(file), bundle.spec, str(file.precision))
        self.target, self.note = GRAPHS[str(file.precision), file.flavour]
        self.scores = SegmentationScores(bundle.spec.classes)
        self.milliseconds: list[float] = []
        self._same = self._pixels = 0

    def run(self, model_input: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Logits [C, h, w] of one model input [H, W, 3]; only the session is on the clock."""
        batch = model_input[None]
        started = time.perf_counter()
        logits = self.session.run(batch)
        self.milliseconds.append((time.perf_counter() - started) * 1e3)
        return np.asarray(logits[0])

    def add(self, truth: Labels, mask: Labels, reference: Labels) -> None:
        """Score one mask against the truth and count the pixels that have FP32's label."""
        self.scores.add(truth, mask)
        self._same += int(np.count_nonzero(mask == reference))
        self._pixels += mask.size

    @property
    def agreement(self) -> float:
        """Percent of all pixels that have FP32's label."""
        return 100 * self._same / self._pixels

    def __enter__(self) -> Meter:
        return self

    def __exit__(self, *_: object) -> None:
        self.session.close()


def shown_in_pictures(meters: Sequence[Meter]) -> Meter:
    """The graph whose worst frames are shown: the last one that runs on this machine's target."""
    return [meter for meter in meters if meter.target == "cpu"][-1]


def warm_up(meters: Sequence[Meter], scene: Scene) -> None:
    """Run each graph a few times and forget the times."""
    for meter in meters:
        model_input = fit_frame(scene.frame, meter.session.spec.input_size)
        for _ in range(WARM_UP):
            meter.run(model_input)
        meter.milliseconds.clear()


def masks_in_turn(meters: Sequence[Meter], scene: Scene, turn: int) -> list[Labels]:
    """Every graph's mask of one frame, at the size of its labels.

    Who goes first rotates from frame to frame, so that no graph always finds the caches as the
    same other one left them.
    """
    model_input = fit_frame(scene.frame, meters[0].session.spec.input_size)
    masks: dict[int, Labels] = {}
    for step in range(len(meters)):
        which = (turn + step) % len(meters)
        masks[which] = upsample_argmax(meters[which].run(model_input), scene.labels.shape)
    return [masks[which] for which in range(len(meters))]


def make_row(meter: Meter, summary: Summary, fp32: Summary, method: str | None) -> Row:
    """A meter's numbers as a row; `method` is how the bundle's ranges were taken."""
    drops = {
        name: None if before is None or after is None else before - after
        for (name, before), after in zip(
            fp32.per_class.items(), summary.per_class.values(), strict=True
        )
    }
    known = {name: drop for name, drop in drops.items() if drop is not None}
    worst = max(known, key=known.__getitem__, default=None)
    timed = meter.target == "cpu"
    p50, p99 = (float(p) for p in np.percentile(meter.milliseconds, (50, 99)))
    return Row(
        precision=str(meter.file.precision),
        flavour=meter.file.flavour,
        target=meter.target,
        method=method if meter.file.precision == "int8" else None,
        shipped=True,
        miou=summary.miou,
        drop=fp32.miou - summary.miou,
        worst_class=worst,
        worst_class_drop=None if worst is None else known[worst],
        per_class=summary.per_class,
        class_drop=drops,
        boundary_f=summary.boundary_f,
        trimap_accuracy=summary.trimap_accuracy,
        pixel_accuracy=summary.pixel_accuracy,
        agreement=meter.agreement,
        p50_ms=p50 if timed else None,
        p99_ms=p99 if timed else None,
        bytes=meter.file.bytes,
        note=meter.note,
    )
