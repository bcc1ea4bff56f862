"""The report as Markdown, for a pull request or a wiki: what the page says, without pictures."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from calibration.numerals import megabytes, number
from calibration.reporting.charts import attempt_chart
from calibration.reporting.facts import facts, geometry, how_many
from calibration.reporting.rows import Row
from calibration.reporting.verdict import restless

if TYPE_CHECKING:
    from calibration.report import Report
    from calibration.reporting.weak_layers import Ranking

SPECIAL = "\\`*_{}[]()#!|~"  # what Markdown could read as markup inside a line


def markdown(report: Report) -> str:
    """The whole report; names that come from files are text, never markup."""
    gate = report.gate
    warning = restless(report.rows)
    title = f"{report.model} on {report.data} {report.split}, {how_many(report)} frames"
    parts = [
        f"# {text(title)}",
        f"**{text(report.verdict)}**",
        f"Gate {'passed' if gate.passed else 'FAILED'}: at most {gate.max_drop} points of mIoU; "
        f"{text(geometry(report))}.",
        "\n".join(f"- {text(failure)}" for failure in gate.failures),
        text(warning) if warning else "",
        rows_table([row for row in report.rows if row.shipped]),
        *attempts_part(report.rows),
        *(part for ranking in report.rankings for part in ranking_part(ranking)),
        "## How this was measured",
        "\n".join(f"- {term}: {text(fact)}" for term, fact in facts(report)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def rows_table(rows: Sequence[Row]) -> str:
    """The bundle's own graphs."""
    return table(
        ("Precision", "mIoU", "drop", "worst class", "boundary F", "trimap", "as FP32", "p50 ms",
         "p99 ms", "mJ", "file"),
        [
            (row.name, number(row.miou), number(row.drop), worst(row), number(row.boundary_f),
             number(row.trimap_accuracy), number(row.agreement), number(row.p50_ms, 1),
             number(row.p99_ms, 1), number(row.energy_mj, 0), megabytes(row.bytes))
            for row in rows
        ],
    )  # fmt: skip


def worst(row: Row) -> str:
    """The class that loses most, and how much."""
    if row.worst_class is None or (row.precision, row.crf) == ("fp32", None):
        return "–"
    return f"{row.worst_class} {number(row.worst_class_drop)}"


def attempts_part(rows: Sequence[Row]) -> list[str]:
    """Each scheme's drop and worst class, per target."""
    chart = attempt_chart(rows)
    if not chart.attempts:
        return []
    lines = []
    for attempt in chart.attempts:
        name = f"{attempt.method} (shipped)" if attempt.shipped else attempt.method
        cells = [
            ("–", "–") if c is None else (number(c[0].drop), worst(c[0])) for c in attempt.cells
        ]
        lines.append((name, *(cell for pair in cells for cell in pair)))
    head = [f"{name} {what}" for _, name in chart.targets for what in ("drop", "worst class")]
    return ["## INT8 in other ways", table(("Scheme", *head), lines)]


def ranking_part(ranking: Ranking) -> list[str]:
    """The worst layers of one graph."""
    lines = [
        (
            layer.name,
            layer.kind,
            number(layer.logits_db, 1),
            number(layer.sqnr_db, 1),
            f"{100 * layer.from_weights:.0f} %",
        )
        for layer in ranking.layers
    ]
    title = f"## Layers that hurt most: {ranking.precision.upper()} {ranking.flavour}"
    return [title, table(("Layer", "kind", "logits dB", "own dB", "from weights"), lines)]


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table whose first column is left-aligned, numbers right."""
    rule = ["---", *(["---:"] * (len(head) - 1))]
    rows = [[text(cell) for cell in head], rule, *([text(c) for c in line] for line in lines)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def text(value: str) -> str:
    """A string on one line that neither Markdown nor HTML reads as markup."""
    escaped = "".join(f"\\{letter}" if letter in SPECIAL else letter for letter in value)
    return html.escape(" ".join(escaped.split()), quote=False)
