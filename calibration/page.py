"""The report as one self-contained HTML page: no script, no network, charts drawn as SVG and CSS.

Everything that comes from a file (class names, frame names, tool versions) passes through Jinja's
autoescape; this module only turns numbers into positions and words.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2

from calibration.charts import class_chart, css, name, scatter
from calibration.pictures import GAINED, LOST, OTHER, disagreement, mask, photo
from calibration.verdict import Limits, excesses, find, restless
from engines.spec import Colour, ModelSpec

if TYPE_CHECKING:
    from calibration.report import Report
    from calibration.worst_frames import WorstFrame

TEMPLATE = "report.html.j2"


def render(report: Report, spec: ModelSpec) -> str:
    """The page as HTML text."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=number, signed=signed, megabytes=megabytes)
    limits = Limits(report.gate.max_drop, report.gate.max_class_drop)
    return environment.get_template(TEMPLATE).render(
        report=report,
        focus=find(report.rows, "int8", "cpu") or report.rows[-1],
        over={i: excesses(row, limits) for i, row in enumerate(report.rows) if i},
        names=[name(row) for row in report.rows],
        classes=class_chart(report.rows, spec),
        restless=restless(report.rows),
        scatter=scatter(report.rows, report.gate.max_drop),
        worst=[gallery(frame, spec.palette) for frame in report.worst_frames],
        legend=[(css(c), n) for c, n in zip(spec.palette, spec.classes, strict=True)],
        differences=difference_legend(report.worst_frames),
        facts=facts(report),
    )


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


def facts(report: Report) -> list[tuple[str, str]]:
    """How it was measured, as pairs for people."""
    origin, machine = report.provenance, dict(report.machine)
    some = "" if report.images == report.images_in_split else f" of {report.images_in_split}"
    height, width = origin["input_size"]
    calibration = origin.get("calibration")
    cpu, cores, load = (machine.pop(key) for key in ("cpu", "cores", "load"))
    return [
        ("Frames", f"{report.images}{some} of {report.data}, split {report.split}"),
        ("Model", f"{report.model}, {width}×{height}, output stride {origin['output_stride']}"),
        ("Weights", f"{origin.get('source', '?')} sha256 {origin.get('source_sha256', '?')[:16]}…"),
        ("Calibration", calibration_text(calibration) if calibration else "none: no INT8 graph"),
        ("Machine", f"{cpu}, {cores} cores, load {load} before measuring"),
        ("Measured with", ", ".join(f"{k} {v}" for k, v in machine.items())),
        ("Built with", ", ".join(f"{k} {v}" for k, v in origin["built_with"].items()) or "?"),
        ("Measured at", report.measured_at),
    ]


def calibration_text(calibration: dict[str, Any]) -> str:
    """The provenance of the INT8 ranges in words."""
    digest = str(calibration.get("digest", "?"))[:16]
    method = calibration.get("method", "?")
    return f"{method} over {calibration.get('frames', '?')} frames (sha256 {digest}…)"


def number(value: float | None, digits: int = 2) -> str:
    """A number, or a dash where there is none."""
    return "–" if value is None else f"{round(value, digits) + 0.0:.{digits}f}"  # + 0.0: no "-0.00"


def signed(value: float | None, digits: int = 2) -> str:
    """A difference with its sign; what rounds to nothing has none."""
    if value is None:
        return "–"
    text = f"{abs(value):.{digits}f}"
    return text if float(text) == 0 else f"{'+' if value > 0 else '−'}{text}"


def megabytes(count: int) -> str:
    """Bytes as megabytes of a million bytes."""
    return f"{count / 1e6:.1f} MB"
