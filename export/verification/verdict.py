"""What of the measured numbers breaks a limit, and which layer did it: the first one, by its own
error.

Errors add up along a network, so the layer with the worst result is rarely the one to blame. A
layer is blamed for what it adds itself when it reads the reference's values. Limits differ by
arithmetic: FP32 graphs are the network up to rounding; FP16 keeps 11 bits of every result; INT8
keeps 8, and how many decibels that is depends on the shape of what a layer computes. So INT8 layers
are held against others of their kind, and against the slope that only wrong weights have.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from export.verification.fused import FusedRow
from export.verification.measure import LayerRow, Measured
from export.verification.oracle import OracleError
from export.verification.untouched import EngineRow

ORACLE = 1e-4  # of a layer's output range, in FP32
FP32_DB = 80.0  # the exported graph's layers have 114 and more, 5 % in a weight leaves 26
FP16_DB = 45.0
INT8_DB = 20.0  # of a layer alone; the bundled model's have 31 and more
BELOW_KIND_DB = 12.0  # two bits
SLOPE = 0.02  # the bundled model's INT8 layers have at most 0.002
FLOORS = {"fp32": FP32_DB, "fp16": FP16_DB, "fp16_torch": FP16_DB}
REPEAT = 1e-3  # of logits that must be equal
AGREEMENT = {"fp32": 0.999, "fp16": 0.99}
INT8_AGREEMENT = 0.9
ENGINE_DB = 6.0  # one bit that an engine may lose against the same graph in onnxruntime
QUANTIZED_DB = 60.0  # a layer above it is computed in float
FEW = 3  # layers of one kind that a comparison needs


@dataclass(frozen=True)
class Limits:
    """What a bundle is held to; `min_sqnr` in decibels of an INT8 layer's own error."""

    min_sqnr: float = INT8_DB
    min_agreement: float = INT8_AGREEMENT

    def agreement(self, precision: str) -> float:
        """The share of labels that must be FP32's."""
        return AGREEMENT.get(precision.split()[0], self.min_agreement)


@dataclass(frozen=True)
class Finding:
    """One limit that is broken; `layer` is None where it is the whole graph's."""

    precision: str
    layer: str | None
    reason: str


def findings(
    measured: Measured, engines: Sequence[EngineRow], fused: Sequence[FusedRow], limits: Limits
) -> list[Finding]:
    """Everything that breaks a limit: single layers first, in the order of precisions and depth."""
    columns: dict[str, list[LayerRow]] = {}
    for row in measured.rows:
        columns.setdefault(row.precision, []).append(row)
    found = [*_of_layers("fp32", columns.get("fp32", []), limits)]
    found += [item for item in map(_of_oracle, measured.oracle) if item]
    for precision, rows in columns.items():
        if " on " in precision:
            found += _of_tapped_engine(precision, rows, columns)
        elif precision != "fp32":
            found += _of_layers(precision, rows, limits)
    found += [item for row in engines for item in _of_engine(row, limits)]
    return [*found, *(item for row in fused for item in _of_fused(row))]


def first_layer(found: Sequence[Finding]) -> Finding | None:
    """The layer to blame: of the first precision that breaks, the first in depth."""
    return next((item for item in found if item.layer is not None), None)


def verdict(measured: Measured, engines: Sequence[EngineRow], found: Sequence[Finding]) -> str:
    """One sentence."""
    first = first_layer(found)
    if first is not None:
        title = words(first.precision)
        return f"{first.layer} is the first layer that breaks: in {title} {first.reason}."
    if found:
        return f"Every layer holds, but {words(found[0].precision)} as a whole does not: " + (
            f"{found[0].reason}."
        )
    kept: dict[str, float] = {}
    for row in measured.rows:
        kind = words(row.precision).split()[0]
        if row.own_sqnr_db is not None and kind != "FP32":
            kept[kind] = min(row.own_sqnr_db, kept.get(kind, math.inf))
    layers = ", ".join(f"at least {lowest:.0f} dB in {kind}" for kind, lowest in kept.items())
    labels = [row.label_agreement for row in engines if row.precision != "fp32"]
    text = "Every layer does what the network does" + (f": {layers}" if layers else "")
    return text + (f"; at least {min(labels):.2%} of the labels are FP32’s." if labels else ".")


def words(precision: str) -> str:
    """`int8_s8_rtx` -> `INT8 s8 rtx`; `fp16_torch` -> `FP16 torch`."""
    head, _, rest = precision.replace("_", " ").partition(" ")
    title = head.capitalize() if head == "mixed" else head.upper()
    return f"{title} {rest}".strip()


def _of_layers(precision: str, rows: list[LayerRow], limits: Limits) -> Iterator[Finding]:
    for index, row in enumerate(rows):
        reason = _reason(precision, row, rows, index, limits)
        if reason:
            yield Finding(precision, row.name, reason)
    floor = FLOORS.get(precision)
    if rows and floor is not None:
        total = rows[-1].sqnr_db
        if total is not None and total < floor:
            yield Finding(
                precision, None, f"the logits have {total:.1f} dB, the limit is {floor:g}"
            )


def _of_tapped_engine(
    precision: str, rows: list[LayerRow], columns: dict[str, list[LayerRow]]
) -> Iterator[Finding]:
    """The first layer of an engine that is worse than the same graph's in onnxruntime."""
    usual = {row.name: row.sqnr_db for row in columns[precision.partition(" on ")[0]]}
    for row in rows:
        expected = usual[row.name]
        if row.sqnr_db is None:
            yield Finding(precision, row.name, "its values are not finite")
        elif expected is not None and row.sqnr_db < min(expected, FP16_DB) - ENGINE_DB:
            reason = f"{row.sqnr_db:.1f} dB have added up there, {expected:.1f} in onnxruntime"
            yield Finding(precision, row.name, reason)


def _reason(
    precision: str, row: LayerRow, rows: list[LayerRow], index: int, limits: Limits
) -> str | None:
    """Why a layer by itself breaks a limit."""
    if not row.finite:
        return "its values are not finite"
    own = row.own_sqnr_db
    if own is None:
        return None
    if precision in FLOORS:
        return _below(own, FLOORS[precision])
    slope = row.own_slope
    if slope is not None and abs(slope) > SLOPE:
        return f"its result is {100 * slope:+.1f} % of the signal off, not at random"
    usual = usual_db(rows, index)
    if usual is not None and own < usual - BELOW_KIND_DB:
        return f"its own error is at {own:.1f} dB, other {row.kind} layers' at {usual:.1f}"
    return _below(own, limits.min_sqnr)


def _below(own: float, floor: float) -> str | None:
    return f"its own error is at {own:.1f} dB, the limit is {floor:g}" if own < floor else None


def usual_db(rows: Sequence[LayerRow], index: int) -> float | None:
    """The median of the other quantized layers of this kind; None where they are too few."""
    kind = rows[index].kind
    others = [
        row.own_sqnr_db
        for place, row in enumerate(rows)
        if place != index and row.kind == kind
        if row.own_sqnr_db is not None and row.own_sqnr_db < QUANTIZED_DB
    ]
    return statistics.median(others) if len(others) >= FEW else None


def _of_oracle(error: OracleError) -> Finding | None:
    if error.max_abs is not None and error.max_abs <= ORACLE:
        return None
    size = "not finite" if error.max_abs is None else f"{error.max_abs:.1e} of its range"
    return Finding("fp32", error.name, f"it differs from the explicit loop by {size}")


def _of_engine(row: EngineRow, limits: Limits) -> Iterator[Finding]:
    name = row.precision if row.target == "cpu" else f"{row.precision} on {row.target}"
    if not row.finite:
        yield Finding(name, None, "its logits are not finite")
        return
    wanted = limits.agreement(row.precision)
    if not row.label_agreement >= wanted:
        share = f"{row.label_agreement:.2%} of the labels are FP32's"
        yield Finding(name, None, f"{share}, the limit is {100 * wanted:g}%")
    if not row.repeat_max_abs <= REPEAT:
        yield Finding(name, None, f"two runs differ by {row.repeat_max_abs:.2g}")
    if row.rows_max_abs is not None and not row.rows_max_abs <= REPEAT:
        yield Finding(name, None, f"equal rows of one batch differ by {row.rows_max_abs:.2g}")


def _of_fused(row: FusedRow) -> Iterator[Finding]:
    name = f"{row.precision} on tensorrt-rtx"
    for item in row.fallbacks:
        yield Finding(name, item.layer, f"it asks for {item.asked} and runs in {item.runs}")
    if not row.repeats:
        yield Finding(name, None, "two builds fuse the graph differently")
