"""One graph's line in the accuracy report: what it costs against FP32 and what it gains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scenes.scores import Summary

if TYPE_CHECKING:
    from calibration.reporting.candidates import Candidate
    from calibration.reporting.meter import Sums

PLACES = {
    "cpu": "CPU", "openvino": "OpenVINO", "tensorrt": "TensorRT", "tensorrt-rtx": "TensorRT-RTX",
}  # fmt: skip
PRECISIONS = {"mixed": "Mixed"}  # words; fp32, fp16 and int8 are written in capitals


@dataclass(frozen=True)
class Row:
    """Percent, points, milliseconds, millijoules, bytes.

    Drops are FP32 (without a CRF) minus this row. `shipped` marks the bundle's own graphs; the
    others are tries for contrast. `method` is the word of the scheme (calibration/scheme.py).
    Times and energy are per frame, of the network alone, with the CRF's where `crf` names a mode;
    None where this machine cannot tell the target's. `class_drop` is None for a class that no
    label shows.
    """

    precision: str
    flavour: str | None
    target: str
    method: str | None
    crf: str | None
    shipped: bool
    input_size: tuple[int, int]
    output_stride: int
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
    energy_mj: float | None
    bytes: int
    note: str | None

    @property
    def name(self) -> str:
        """For people: "INT8 CPU", "FP32 CPU + CRF"."""
        precision = PRECISIONS.get(self.precision, self.precision.upper())
        refined = " + CRF" if self.crf else ""
        return f"{precision} {PLACES.get(self.target, self.target)}{refined}"

    @property
    def own(self) -> bool:
        """A graph of the bundle as it is: no try, no CRF."""
        return self.shipped and self.crf is None

    @property
    def judged(self) -> bool:
        """Whether the gate holds: for every reduced precision that the bundle ships."""
        return self.own and self.precision != "fp32"


def make_row(
    candidate: Candidate, sums: Sums, fp32: Summary, crf: str | None, energy_mj: float | None
) -> Row:
    """A candidate and what was summed up over its masks, as a row."""
    summary = sums.scores.summary()
    drops = class_drops(fp32, summary)
    known = {name: drop for name, drop in drops.items() if drop is not None}
    worst = max(known, key=known.__getitem__, default=None)
    p50, p99 = (float(p) for p in np.percentile(sums.milliseconds, (50, 99)))
    return Row(
        precision=candidate.precision,
        flavour=candidate.flavour,
        target=candidate.target,
        method=candidate.method,
        crf=crf,
        shipped=candidate.shipped,
        input_size=candidate.spec.input_size,
        output_stride=candidate.spec.output_stride,
        miou=summary.miou,
        drop=fp32.miou - summary.miou,
        worst_class=worst,
        worst_class_drop=None if worst is None else known[worst],
        per_class=summary.per_class,
        class_drop=drops,
        boundary_f=summary.boundary_f,
        trimap_accuracy=summary.trimap_accuracy,
        pixel_accuracy=summary.pixel_accuracy,
        agreement=sums.agreement,
        p50_ms=p50 if candidate.timed else None,
        p99_ms=p99 if candidate.timed else None,
        energy_mj=energy_mj,
        bytes=candidate.bytes,
        note=candidate.note,
    )


def class_drops(fp32: Summary, other: Summary) -> dict[str, float | None]:
    """FP32's IoU minus the other's, per class."""
    pairs = zip(fp32.per_class.items(), other.per_class.values(), strict=True)
    return {
        name: None if before is None or after is None else before - after
        for (name, before), after in pairs
    }
