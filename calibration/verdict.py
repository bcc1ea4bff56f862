"""From measured rows to a decision: the gate that a build server obeys, and one sentence."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from calibration.accuracy import Row
from engines.failures import UsageError

CLEAR = 1.05  # speed ratios within 5 % of 1 are noise on a machine that does other things too
NEGLIGIBLE = 0.05  # points of mIoU; calibration methods differ by as much on CamVid val
RESTLESS = 3.0  # p99 over p50: 1.2 to 1.5 beside two busy programs, 15 beside one of more priority


@dataclass(frozen=True)
class Limits:
    """What a reduced precision may cost, in points: of mIoU, and of single classes' IoU."""

    max_drop: float
    max_class_drop: dict[str, float]


@dataclass(frozen=True)
class Gate:
    """The limits, and what exceeded them in words; every row but FP32 must pass."""

    max_drop: float
    max_class_drop: dict[str, float]
    passed: bool
    failures: list[str]


def named_limits(limits: Limits, classes: Sequence[str]) -> Limits:
    """The limits with class names as the model spells them; an unknown one is a `UsageError`."""
    known = {name.casefold(): name for name in classes}
    for name in limits.max_class_drop:
        if name.casefold() not in known:
            close = difflib.get_close_matches(name.casefold(), known, n=1)
            hint = f"did you mean {known[close[0]]}?" if close else f"known: {', '.join(classes)}"
            raise UsageError(f"--max-class-drop: this model has no class {name!r}; {hint}")
    named = {known[name.casefold()]: limit for name, limit in limits.max_class_drop.items()}
    return Limits(limits.max_drop, named)


def judge(rows: Sequence[Row], limits: Limits) -> Gate:
    """Hold every row but FP32 against the limits."""
    failures = [
        f"{label(row)} {reason}"
        for row in rows
        if row.precision != "fp32"
        for reason in excesses(row, limits)
    ]
    return Gate(limits.max_drop, limits.max_class_drop, not failures, failures)


def excesses(row: Row, limits: Limits) -> list[str]:
    """Why a row fails, empty if it passes. A class that never occurs cannot pass its limit."""
    reasons = []
    if row.drop > limits.max_drop:
        reasons.append(f"costs {row.drop:.2f} mIoU, over the limit of {limits.max_drop}")
    for name, limit in limits.max_class_drop.items():
        drop = row.class_drop[name]
        if drop is None:
            reasons.append(f"cannot be held to its limit for {name}: no frame shows that class")
        elif drop > limit:
            reasons.append(f"costs {drop:.2f} IoU of {name}, over its limit of {limit}")
    return reasons


def verdict(rows: Sequence[Row], limits: Limits) -> str:
    """What to do on this machine, in one sentence; a second one if TensorRT's INT8 graph fails."""
    fp32 = rows[0]
    int8 = find(rows, "int8", "cpu")
    if int8 is None:
        return without_int8(fp32, find(rows, "fp16", "cpu"), limits)
    sentence = on_this_machine(fp32, int8, limits)
    tensorrt = find(rows, "int8", "tensorrt")
    reasons = [] if tensorrt is None else excesses(tensorrt, limits)
    if reasons and not excesses(int8, limits):
        sentence += f" TensorRT's INT8 graph {reasons[0]}: use FP16 there."
    return sentence


def on_this_machine(fp32: Row, int8: Row, limits: Limits) -> str:
    """INT8 against FP32: accuracy first, then speed."""
    reasons = excesses(int8, limits)
    if reasons:
        return f"INT8 {reasons[0]}: keep FP32."
    assert fp32.p50_ms is not None  # rows of this machine are timed
    assert int8.p50_ms is not None
    speed = fp32.p50_ms / int8.p50_ms
    if speed < CLEAR:
        how = "slower" if speed < 1 / CLEAR else "no faster"
        times = f"{int8.p50_ms:.1f} ms against {fp32.p50_ms:.1f} ms"
        return f"INT8 is {how} than FP32 here ({times}): use FP32."
    return f"INT8 {cost(int8.drop)} and is {speed:.1f}x faster than FP32 here: ship it."


def without_int8(fp32: Row, fp16: Row | None, limits: Limits) -> str:
    """The verdict on a bundle that was built without calibration data."""
    missing = "This bundle has no INT8 graph"
    if fp16 is None:
        return f"{missing} and no FP16 one: there is nothing to compare FP32 with."
    reasons = excesses(fp16, limits)
    if reasons:
        return f"{missing}, and FP16 {reasons[0]}: keep FP32."
    smaller = fp32.bytes / fp16.bytes
    return f"{missing}; FP16 {cost(fp16.drop)} and its file is {smaller:.1f}x smaller: ship that."


def restless(rows: Sequence[Row]) -> str | None:
    """A warning where the times scatter so much that other programs must have been computing."""
    ratios = [row.p99_ms / row.p50_ms for row in rows if row.p50_ms and row.p99_ms]
    worst = max(ratios)
    if worst < RESTLESS:
        return None
    return (
        f"Times scatter (p99 up to {worst:.0f} times p50): this machine was busy with other things;"
        " measure again on a quiet one before trusting milliseconds."
    )


def cost(drop: float) -> str:
    """A drop in points in words."""
    if abs(drop) < NEGLIGIBLE:
        return "costs no mIoU"
    return f"costs {drop:.2f} mIoU" if drop > 0 else f"gains {-drop:.2f} mIoU"


def find(rows: Sequence[Row], precision: str, target: str) -> Row | None:
    """The bundle's own row of a precision and target, or None."""
    for row in rows:
        if row.shipped and (row.precision, row.target) == (precision, target):
            return row
    return None


def label(row: Row) -> str:
    """A row's name for people: "INT8 (cpu)"."""
    return f"{row.precision.upper()} ({row.target})"
