"""The verification as one self-contained HTML page: no script, no network.

Its centre is a strip for every precision, layers from left to right, coloured by decibels. Numbers
of a layer show while it is pointed at or tapped.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from calibration.numerals import number, size
from calibration.templates import environment
from export.verification.summary import by_precision
from export.verification.verdict import FP16_DB, ORACLE, words

if TYPE_CHECKING:
    from export.verification.measure import LayerRow
    from export.verification.report import Report

TEMPLATE = "verify.html.j2"
BOUNDS = (15, 25, 35, 45, 60, 90)  # decibels between two colours
FLOAT = ("fp32", "fp16")  # computed in FP32 by onnxruntime: FP16 arithmetic is PyTorch's
WEAKEST = 5  # layers of a precision in the table
FINDINGS = 6  # of many: what follows a broken layer is broken, too


@dataclass(frozen=True)
class Cell:
    """One layer of a strip; `own` and `whole` are numbers of colours, None for grey."""

    row: LayerRow
    own: int | None
    whole: int | None
    broken: bool
    text: str


@dataclass(frozen=True)
class Strip:
    """One precision, its stages with their cells."""

    name: str
    labels: float | None
    stages: list[list[Cell]]


def render(report: Report) -> str:
    """The page as HTML text."""
    columns = by_precision(report)
    templates = environment(Path(__file__).parent)
    templates.filters["tone"] = tone
    return templates.get_template(TEMPLATE).render(
        report=report,
        size=size(report.input_size),
        words=words,
        findings=report.findings[:FINDINGS],
        more=len(report.findings) - FINDINGS,
        strips=[strip(report, name, rows) for name, rows in columns.items()],
        stages=stages(next(iter(columns.values()))),
        depth=max(len(rows) for rows in columns.values()),
        key=key(),
        weakest={name: weakest(rows) for name, rows in columns.items() if name not in FLOAT},
        borders=borders(report, columns),
        border_names=[name for name in columns if name not in FLOAT],
        ORACLE=ORACLE,
        FP16_DB=FP16_DB,
        half=lowest(columns.get("fp16_torch", [])),
        facts=facts(report),
    )


def strip(report: Report, precision: str, rows: list[LayerRow]) -> Strip:
    """The cells of one precision."""
    broken = {item.layer for item in report.findings if item.precision == precision}
    cells = [
        Cell(row, tone(row.own_sqnr_db), tone(row.sqnr_db), row.name in broken, tell(row))
        for row in rows
    ]
    grouped = [list(group) for _, group in groupby(cells, lambda cell: stage_of(cell.row.block))]
    return Strip(words(precision), report.label_agreement.get(precision), grouped)


def stages(rows: list[LayerRow]) -> list[tuple[str, int]]:
    """The parts of the network, and how many layers each has."""
    groups = groupby(rows, lambda row: stage_of(row.block))
    return [(name, sum(1 for _ in group)) for name, group in groups]


def stage_of(block: str) -> str:
    """`backbone.blocks.1.0` -> `blocks.1`; `aspp` stays."""
    parts = block.split(".")
    return ".".join(parts[1:3]) if len(parts) > 2 else parts[-1]


def tone(decibel: float | None) -> int | None:
    """The number of a colour, 0 for the worst."""
    return None if decibel is None else bisect.bisect_right(BOUNDS, decibel)


def key() -> list[tuple[int, str]]:
    """Each colour and the decibels that it stands for."""
    inner = [f"{low}–{high}" for low, high in pairwise(BOUNDS)]
    return list(enumerate((f"below {BOUNDS[0]}", *inner, f"{BOUNDS[-1]} and more")))


def tell(row: LayerRow) -> str:
    """One layer's numbers in a line."""
    parts = [f"by itself {number(row.own_sqnr_db, 1)} dB", f"added up {number(row.sqnr_db, 1)} dB"]
    if row.cosine is not None:
        parts.append(f"cosine {row.cosine:.6f}")
    if row.max_abs is not None:
        parts.append(f"largest difference {row.max_abs:.2g} of a range of {row.range:.2g}")
    if row.border_sqnr_db is not None:
        share = f"{100 * row.border_share:.0f} % of the map"
        parts.append(f"border ({share}) {number(row.own_border_sqnr_db, 1)} dB by itself")
    return ", ".join(parts)


def weakest(rows: list[LayerRow]) -> list[tuple[LayerRow, float]]:
    """The layers with the largest errors of their own, and how wide each one's bar is, percent of
    a track that ends at the last bound."""
    known = [row for row in rows if row.own_sqnr_db is not None]
    worst = sorted(known, key=lambda row: row.own_sqnr_db or 0.0)[:WEAKEST]
    return [(row, min(100.0, max(0.0, (row.own_sqnr_db or 0) / BOUNDS[-1] * 100))) for row in worst]


def lowest(rows: list[LayerRow]) -> float | None:
    """The lowest own decibels of some layers."""
    return min((row.own_sqnr_db for row in rows if row.own_sqnr_db is not None), default=None)


@dataclass(frozen=True)
class Border:
    """One atrous-separable layer: the loop's word on it, and how each precision treats its border:
    (whole map, border alone) in decibels of its own error."""

    row: LayerRow
    oracle: float | None
    checked: str
    pairs: list[tuple[str, float | None, float | None]]


def borders(report: Report, columns: dict[str, list[LayerRow]]) -> list[Border]:
    """The atrous-separable layers that read padding, in depth order."""
    oracle = {error.name: error for error in report.oracle}
    shown = [name for name in columns if name not in FLOAT]
    by_layer = {name: {row.name: row for row in columns[name]} for name in shown}
    some = next(iter(columns.values()))
    result = []
    for row in some:
        error = oracle.get(row.name)
        if error is None or not row.border_share:
            continue
        twins = [(name, by_layer[name][row.name]) for name in shown if row.name in by_layer[name]]
        pairs = [(words(n), twin.own_sqnr_db, twin.own_border_sqnr_db) for n, twin in twins]
        share = "all" if error.positions == error.of else f"{error.positions} of {error.of}"
        result.append(Border(row, error.max_abs, share, pairs))
    return result


def facts(report: Report) -> list[tuple[str, str]]:
    """Where the numbers come from."""
    machine = report.machine
    cpu = f"{machine['cpu']}, {machine['cores']} cores, load {machine['load']} before measuring"
    known = ("cpu", "cores", "load")
    versions = ", ".join(f"{k} {v}" for k, v in machine.items() if k not in known)
    limits = report.limits
    return [
        ("Reference", f"{report.reference}, from {report.source}"),
        ("Frames", f"{report.frames} of {report.data}, at {size(report.input_size)}"),
        (
            "Limits",
            f"explicit loop {ORACLE:g} of a layer's range; FP16 {FP16_DB:g} dB; an INT8 layer by "
            f"itself {limits.min_sqnr:g} dB, not 12 dB below others of its kind, not following "
            f"the signal by more than 2 %; INT8 labels {100 * limits.min_agreement:g} %",
        ),
        ("Machine", cpu),
        ("With", versions),
        *(("Note", note) for note in report.notes),
    ]
