"""The report as one self-contained HTML page: no script, no network, charts drawn as SVG and CSS.

Everything that comes from a file (class names, frame names, tool versions) passes through Jinja's
autoescape; this module only turns numbers into positions and words.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calibration.numerals import number
from calibration.reporting.accuracy import SHOWN
from calibration.reporting.charts import TONES, attempt_chart, class_chart, css
from calibration.reporting.facts import facts, geometry, how_many, words_of
from calibration.reporting.pictures import GAINED, LOST, OTHER, disagreement, mask, photo
from calibration.reporting.rows import PLACES, Row
from calibration.reporting.scatter import scatter
from calibration.reporting.verdict import Limits, excesses, restless
from calibration.scheme import NAIVE
from calibration.templates import environment
from engines.spec import Colour, ModelSpec

if TYPE_CHECKING:
    from calibration.report import Report
    from calibration.reporting.weak_layers import Ranking
    from calibration.reporting.worst_frames import WorstFrame

TEMPLATE = "report.html.j2"


def render(report: Report, spec: ModelSpec) -> str:
    """The page as HTML text."""
    limits = Limits(report.gate.max_drop, report.gate.max_class_drop)
    attempts = attempt_chart(report.rows)
    return (
        environment(Path(__file__).parent)
        .get_template(TEMPLATE)
        .render(
            report=report,
            geometry=geometry(report),
            how_many=how_many(report),
            shipped=[(row, over(row, limits)) for row in report.rows if row.shipped],
            focus=in_focus(report.rows),
            classes=class_chart(report.rows, spec),
            attempts=attempts,
            naive=str(NAIVE),
            words=words_of([attempt.method for attempt in attempts.attempts]),
            rankings=[ranking_chart(ranking) for ranking in report.rankings],
            restless=restless(report.rows),
            scatter=scatter(report.rows, report.gate.max_drop),
            worst=[gallery(frame, spec.palette) for frame in report.worst_frames],
            legend=[(css(c), n) for c, n in zip(spec.palette, spec.classes, strict=True)],
            differences=difference_legend(report.worst_frames),
            facts=facts(report),
        )
    )


def over(row: Row, limits: Limits) -> bool:
    """Whether a row that the gate judges is over a limit."""
    return row.judged and bool(excesses(row, limits))


def in_focus(rows: Sequence[Row]) -> Row | None:
    """The row whose numbers stand at the top: the one whose worst frames are shown."""
    timed = [row for row in rows if row.judged and row.p50_ms is not None]
    of_a_kind = (row for precision in SHOWN for row in timed if row.precision == precision)
    return next(of_a_kind, None)


def ranking_chart(ranking: Ranking) -> dict[str, Any]:
    """Layers with the noise that each alone brings into the logits, in percent of their signal."""
    noises = [100 * 10 ** (-layer.logits_db / 20) for layer in ranking.layers]
    longest = max(noises, default=0.0) or 1.0
    return {
        "ranking": ranking,
        "name": f"{ranking.precision.upper()} {PLACES[ranking.target]}",
        "tone": TONES.index(f"{ranking.precision} {ranking.target}"),
        "layers": [
            (layer, noise, round(100 * noise / longest, 2))
            for layer, noise in zip(ranking.layers, noises, strict=True)
        ],
    }


def gallery(worst: WorstFrame, palette: Sequence[Colour]) -> dict[str, Any]:
    """One frame's pictures with captions."""
    reduced = worst.precision.upper()
    pictures = [
        ("frame", photo(worst.frame)),
        ("truth", mask(worst.truth, palette)),
        (f"FP32, mIoU {number(worst.miou_fp32, 1)}", mask(worst.reference, palette)),
        (f"{reduced}, mIoU {number(worst.miou, 1)}", mask(worst.candidate, palette)),
        (
            f"where they differ: {100 - worst.agreement:.2f} %",
            disagreement(worst.frame, worst.truth, worst.reference, worst.candidate),
        ),
    ]
    return {"name": worst.name, "pictures": pictures}


def difference_legend(worst: Sequence[WorstFrame]) -> list[tuple[str, str]]:
    """What the colours of the difference pictures mean."""
    reduced = worst[0].precision.upper() if worst else ""
    return [
        (css(LOST), "only FP32 is right"),
        (css(GAINED), f"only {reduced} is right"),
        (css(OTHER), "neither is, or the pixel is unlabelled"),
    ]
