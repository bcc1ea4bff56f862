"""From measured rows to a decision: the gate that a build server obeys, and one sentence."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from calibration.reporting.rows import PLACES, Row
from calibration.scheme import LEARNED
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
    """The limits, and what exceeded them in words; see `judge` for who is held to them."""

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
    """Hold every reduced precision that the bundle ships against the limits; tries may fail."""
    failures = [
        f"{row.name} {reason}" for row in rows if row.judged for reason in excesses(row, limits)
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
    """What to do on this machine, in a sentence for each target that runs here.

    A target that does not run here gets one only if its INT8 graph fails.
    """
    sentences: list[str | None] = []
    for target in dict.fromkeys(row.target for row in rows if row.own):
        own = {row.precision: row for row in rows if row.own and row.target == target}
        if target == "openvino":
            sentences.append(in_openvino(own, rows, limits))
            continue
        timed = {name: row for name, row in own.items() if row.p50_ms is not None}
        # Plans of some precisions may be missing: graphs that only emulate them have no time.
        judged_here = timed and (quantized_of(timed) or not quantized_of(own))
        sentences.append(here(timed, limits) if judged_here else elsewhere(own, limits))
    return " ".join(sentence for sentence in sentences if sentence)


def in_openvino(own: Mapping[str, Row], rows: Sequence[Row], limits: Limits) -> str:
    """Whether this CPU is better used by OpenVINO: each engine's fastest row within the limits."""
    ours = within(own.values(), limits)
    if not ours:
        return "In OpenVINO no graph is within the limits: keep --target cpu."
    theirs = within([row for row in rows if row.own and row.target == "cpu"], limits)
    best, rival = best_of(ours), best_of(theirs)
    speed = time_of(rival) / time_of(best)
    name, other = called(best), called(rival)
    if speed < CLEAR:
        times = f"{name} in {time_of(best):.1f} ms, onnxruntime {other} in {time_of(rival):.1f} ms"
        return f"OpenVINO is no faster here ({times}): keep --target cpu."
    return (
        f"OpenVINO's {name} {cost(best.drop)} and is {speed:.1f}x faster here than onnxruntime's "
        f"{other} ({time_of(best):.1f} ms against {time_of(rival):.1f} ms): use --target openvino."
    )


def here(own: Mapping[str, Row], limits: Limits) -> str | None:
    """The verdict on a target that runs here, from its timed rows by precision."""
    rival = rival_of(own)
    quantized = quantized_of(own)
    if not quantized:
        return without_int8(own, limits)
    good = [row for row in quantized if not excesses(row, limits)]
    if not good:
        return failed(quantized, limits, rival)
    sentence = against(best_of(good), rival)
    if quantized[0] in good:
        return sentence
    reason = excesses(quantized[0], limits)[0]
    return f"{called(quantized[0])} {reason}, but {sentence[0].lower()}{sentence[1:]}"


def quantized_of(own: Mapping[str, Row]) -> list[Row]:
    """The rows that hold INT8, pure INT8 first."""
    return [own[precision] for precision in ("int8", "mixed") if precision in own]


def within(rows: Iterable[Row], limits: Limits) -> list[Row]:
    """The rows that may be used: FP32, and the reduced ones that pass."""
    return [row for row in rows if row.precision == "fp32" or not excesses(row, limits)]


def rival_of(own: Mapping[str, Row]) -> Row | None:
    """The float graph that INT8 must beat: FP32 on a CPU, whose FP16 computes in FP32, else FP16.

    None where an engine's target has no float engine here.
    """
    on_cpu = any(row.target == "cpu" for row in own.values())
    names = ("fp32",) if on_cpu else ("fp16", "fp32")
    return next((own[name] for name in names if name in own), None)


def best_of(rows: Sequence[Row]) -> Row:
    """The fastest row; of those as fast as it within the noise, the one that costs least."""
    fastest = min(time_of(row) for row in rows)
    return min((r for r in rows if time_of(r) <= fastest * CLEAR), key=lambda row: row.drop)


def against(best: Row, rival: Row | None) -> str:
    """A row within the limits against the float graph: accuracy first, then speed."""
    name, place = called(best), place_of(best)
    if rival is None:
        return f"{name} {cost(best.drop)} and takes {time_of(best):.1f} ms {place}: ship it."
    float_name, speed = rival.precision.upper(), time_of(rival) / time_of(best)
    if speed < CLEAR:
        how = "slower" if speed < 1 / CLEAR else "no faster"
        times = f"{time_of(best):.1f} ms against {time_of(rival):.1f} ms"
        return f"{name} is {how} than {float_name} {place} ({times}): use {float_name}."
    return (
        f"{name} {cost(best.drop)} and is {speed:.1f}x faster than {float_name} {place}: ship it."
    )


def failed(quantized: Sequence[Row], limits: Limits, rival: Row | None) -> str:
    """No quantized graph of a target is within the limits."""
    reason = f"{called(quantized[0])} {excesses(quantized[0], limits)[0]}"
    keep = "FP32" if rival is None else rival.precision.upper()
    if len(quantized) > 1:
        return f"{reason}, and mixed precision is over a limit, too: keep {keep}."
    if quantized[0].precision == "mixed":
        return f"{reason}: keep {keep}."
    return f"{reason}: keep {keep}, or build with --mixed --max-drop {limits.max_drop}."


def elsewhere(own: Mapping[str, Row], limits: Limits) -> str | None:
    """What to use on a target that does not run here, if not INT8."""
    reasons = excesses(own["int8"], limits) if "int8" in own else []
    if not reasons:
        return None
    mixed = "mixed" in own and not excesses(own["mixed"], limits)
    other = "mixed precision" if mixed else "FP16"
    place = PLACES[own["int8"].target]
    return f"{place}'s INT8 graph {reasons[0]}: use {other} there."


def without_int8(own: Mapping[str, Row], limits: Limits) -> str | None:
    """The verdict on a target whose bundle was built without calibration data."""
    if "fp32" not in own:
        return None
    missing = "This bundle has no INT8 graph"
    if "fp16" not in own:
        return f"{missing} and no FP16 one: there is nothing to compare FP32 with."
    fp32, fp16 = own["fp32"], own["fp16"]
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


def find(rows: Sequence[Row], precision: str, target: str) -> Row | None:
    """The bundle's own row of a precision and target, or None."""
    for row in rows:
        if row.own and (row.precision, row.target) == (precision, target):
            return row
    return None


def cost(drop: float) -> str:
    """A drop in points in words."""
    if abs(drop) < NEGLIGIBLE:
        return "costs no mIoU"
    return f"costs {drop:.2f} mIoU" if drop > 0 else f"gains {-drop:.2f} mIoU"


def called(row: Row) -> str:
    """A quantized row at the start of a sentence."""
    name = "Mixed precision" if row.precision == "mixed" else row.precision.upper()
    return f"{name} after fine-tuning" if row.method == LEARNED else name


def place_of(row: Row) -> str:
    """Where a timed row ran."""
    return "here" if row.target == "cpu" else "on this GPU"


def time_of(row: Row) -> float:
    """The median of a row whose target runs here."""
    assert row.p50_ms is not None
    return row.p50_ms
