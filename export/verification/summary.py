"""A verification in a few lines: one for each precision, what breaks, and the verdict."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from calibration.numerals import number, size
from export.verification.verdict import ORACLE, words

if TYPE_CHECKING:
    from export.verification.measure import LayerRow
    from export.verification.report import Report
    from export.verification.untouched import EngineRow

COLUMNS = f"{'precision':24}{'labels':>9}{'logits dB':>11}{'layer dB':>10}{'border dB':>11}"


def lines(report: Report, shown: int) -> list[str]:
    """What is printed; at most `shown` findings are told in words, the rest counted."""
    text = [
        f"{report.model} {size(report.input_size)} on {report.frames} of {report.data}, "
        f"against {report.reference}",
        f"{COLUMNS}  weakest layer",
        *(_line(report, precision, rows) for precision, rows in by_precision(report).items()),
    ]
    if report.oracle:
        count = len(report.oracle)
        text.append(
            f"explicit loop: {count} atrous-separable layers, largest difference "
            f"{_small(report.oracle_max_abs)} of a layer's range (limit {ORACLE:g})"
        )
    text += [f"{a} is the same file as {b}" for a, b in report.copies.items()]
    text += [_engine(row.precision, row.target, row.label_agreement) for row in _others(report)]
    for row in report.fused:
        counts = ", ".join(f"{count} {kind}" for kind, count in row.convolutions.items())
        text.append(f"{row.precision} in {row.library}: {counts} convolutions")
    text += [f"note: {note}" for note in report.notes]
    for item in report.findings[:shown]:
        where = f"{item.layer}: " if item.layer else ""
        text.append(f"BROKEN {words(item.precision)}: {where}{item.reason}")
    more = len(report.findings) - shown
    if more > 0:
        text.append(f"and {more} more (--json FILE has them all)")
    text.append(report.verdict)
    if report.remedy:
        text.append(f"next: {report.remedy}")
    return text


def by_precision(report: Report) -> dict[str, list[LayerRow]]:
    """The layers of each precision, in depth order."""
    columns: dict[str, list[LayerRow]] = {}
    for row in report.layers:
        columns.setdefault(row.precision, []).append(row)
    return columns


def weakest(rows: list[LayerRow]) -> LayerRow | None:
    """The layer with the largest error of its own."""
    known = [row for row in rows if row.own_sqnr_db is not None]
    return min(known, key=lambda row: row.own_sqnr_db or 0.0, default=None)


def _line(report: Report, precision: str, rows: list[LayerRow]) -> str:
    worst = weakest(rows)
    borders = [r.own_border_sqnr_db for r in rows if r.own_border_sqnr_db is not None]
    share = report.label_agreement.get(precision)
    labels = "-" if share is None else f"{share:.2%}"
    own = None if worst is None else worst.own_sqnr_db
    return (
        f"{words(precision):24}{labels:>9}{number(rows[-1].sqnr_db, 1, '-'):>11}"
        f"{number(own, 1, '-'):>10}{number(min(borders, default=None), 1, '-'):>11}  "
        f"{'-' if worst is None else worst.name}"
    )


def _others(report: Report) -> Iterator[EngineRow]:
    """Engines that are not onnxruntime's, and have no line of their own."""
    return (row for row in report.engines if row.target != "cpu")


def _engine(precision: str, target: str, share: float) -> str:
    return f"{words(precision)} on {target}: {share:.2%} of the labels are FP32's"


def _small(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.1e}"
