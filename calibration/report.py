"""What each precision of a bundle costs and gains, on labelled frames: one page to decide from.

Every graph that runs here is scored against the truth and against FP32; the graphs of this
machine's targets are timed, interleaved. What the build tried and did not ship is measured beside
them, and the layers that INT8 hurts most are named. The report is stored in the bundle, where
`runtime/stream.py --precision auto` finds it. A shipped graph over a limit gives exit code 3.
"""

from __future__ import annotations

import argparse
import datetime
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engines.atomic import check_writable
from engines.command import as_json, parser, run_command
from engines.failures import GateFailed, UsageError

if TYPE_CHECKING:
    from calibration.reporting.accuracy import Measured
    from calibration.reporting.rows import Row
    from calibration.reporting.verdict import Gate, Limits
    from calibration.reporting.weak_layers import Ranking
    from calibration.reporting.worst_frames import WorstFrame
    from engines.bundle import Bundle

PACKAGES = ("onnxruntime", "openvino", "numpy", "av", "pillow")  # what scores and times depend on
FORMAT = 2  # of the JSON; calibration/report.schema.json describes it
CRF_MODES = ("off", "fast", "exact")
WIDE = 43  # characters of the first column: the naive scheme's words fit
NAMED = 3  # layers in the printed summary; the page has more


@dataclass(frozen=True)
class Options:
    """What to measure, on which frames, and what it may cost (points of mIoU and IoU)."""

    bundle: Path = Path("artifacts/camvid-mobilenetv2")
    data: str = "street:"
    split: str = "val"
    max_drop: float = 1.0
    max_class_drop: dict[str, float] = field(default_factory=dict)
    limit: int | None = None
    tries: bool = True
    crf: str = "off"
    rank_frames: int = 2
    html: Path | None = None
    markdown: Path | None = None
    json: Path | None = None

    def __post_init__(self) -> None:
        for name, limit in {"--max-drop": self.max_drop, **self.max_class_drop}.items():
            if not 0 <= limit < math.inf:
                raise UsageError(f"{name}: a limit is 0 points or more, got {limit}")
        if self.limit is not None and self.limit < 1:
            raise UsageError(f"--limit: at least 1 frame, got {self.limit}")
        if self.rank_frames < 0:
            raise UsageError(f"--rank-frames: 0 frames or more, got {self.rank_frames}")
        for path in (self.html, self.markdown):
            check_writable(path)


@dataclass(frozen=True)
class Report:
    """The report as it is stored in the bundle and written as JSON: see report.schema.json."""

    format: int
    model: str
    data: str
    split: str
    images: int
    images_in_split: int
    frame_sizes: list[tuple[int, int]]
    measured_at: str
    verdict: str
    gate: Gate
    rows: list[Row]
    rankings: list[Ranking]
    worst_frames: list[WorstFrame]
    skipped: list[str]
    power: str | None
    provenance: dict[str, Any]
    machine: dict[str, str | int | float]


@dataclass(frozen=True)
class Result:
    """A report and where it went; a failed gate is its exit code."""

    report: Report
    bundle: Path
    html: Path | None

    @property
    def exit_code(self) -> int:
        """0, or 3 where a reduced precision is over a limit."""
        return 0 if self.report.gate.passed else GateFailed.exit_code

    def to_json(self) -> Report:
        """The JSON file is the report itself."""
        return self.report


def parse(argv: list[str] | None) -> Options:
    """Read the command line."""
    default = Options()
    p = parser(__doc__, "python calibration/report.py --data camvid:DIR --split val --html r.html")
    p.add_argument("--bundle", type=Path, default=default.bundle, metavar="DIR", help="to measure")
    p.add_argument(
        "--data", default=default.data, metavar="SPEC",
        help="labelled frames: camvid:DIR, folder:DIR or street:",
    )  # fmt: skip
    p.add_argument("--split", default=default.split, metavar="NAME", help="of --data")
    p.add_argument(
        "--max-drop", type=float, default=default.max_drop, metavar="X",
        help="points of mIoU that a reduced precision may cost",
    )  # fmt: skip
    p.add_argument(
        "--max-class-drop", type=class_limit, action="append", default=[], metavar="NAME=X",
        help="points of IoU that one class may lose; may be repeated",
    )  # fmt: skip
    p.add_argument("--limit", type=int, metavar="N", help="measure N frames spread over the split")
    p.add_argument(
        "--no-tries", dest="tries", action="store_false",
        help="leave out what the build tried and did not ship",
    )  # fmt: skip
    p.add_argument(
        "--crf", choices=CRF_MODES, default=default.crf,
        help="measure the bundle's graphs with its CRF, too",
    )  # fmt: skip
    p.add_argument(
        "--rank-frames", type=int, default=default.rank_frames, metavar="N",
        help="find the worst layers on N frames; 0 leaves that out",
    )  # fmt: skip
    p.add_argument("--html", type=Path, metavar="FILE", help="also write the page")
    p.add_argument("--markdown", type=Path, metavar="FILE", help="also write Markdown")
    values = vars(p.parse_args(argv))
    values["max_class_drop"] = dict(values["max_class_drop"])
    return Options(**values)


def class_limit(text: str) -> tuple[str, float]:
    """One NAME=X of --max-class-drop."""
    name, _, number = text.rpartition("=")
    try:
        return name, float(number)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected NAME=X, e.g. Car=1.0, got {text!r}") from None


def run(options: Options) -> Result:
    """Measure, judge, store the report in the bundle, and write the page if asked."""
    from calibration.reporting.accuracy import measure
    from calibration.reporting.preconditions import require_same_classes, require_writable
    from calibration.reporting.verdict import Limits, named_limits
    from calibration.reporting.weak_layers import rank
    from engines.bundle import Bundle
    from engines.machine import describe_machine
    from scenes.dataset import open_dataset

    bundle = Bundle.open(options.bundle)
    limits = named_limits(Limits(options.max_drop, options.max_class_drop), bundle.spec.classes)
    dataset = open_dataset(options.data, options.split)
    require_same_classes(options.data, dataset, bundle)
    require_writable(bundle)
    machine = describe_machine(*PACKAGES)  # before measuring, so that the load is others'
    measured = measure(bundle, dataset, options.limit, options.tries, options.crf)
    ranked = rank(bundle, dataset, options.rank_frames) if options.rank_frames else ([], [])
    report = compose(options, bundle, len(dataset), limits, measured, ranked, machine)
    bundle.add_report(as_json(report))
    write_pages(options, report, bundle)
    return Result(report, options.bundle, options.html)


def compose(
    options: Options,
    bundle: Bundle,
    images_in_split: int,
    limits: Limits,
    measured: Measured,
    ranked: tuple[list[Ranking], list[str]],
    machine: dict[str, str | int | float],
) -> Report:
    """Judge what was measured, and put it all together."""
    from calibration.reporting.verdict import judge, verdict

    return Report(
        format=FORMAT,
        model=bundle.spec.name,
        data=options.data,
        split=options.split,
        images=measured.images,
        images_in_split=images_in_split,
        frame_sizes=measured.frame_sizes,
        measured_at=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        verdict=verdict(measured.rows, limits),
        gate=judge(measured.rows, limits),
        rows=measured.rows,
        rankings=ranked[0],
        worst_frames=measured.worst,
        skipped=measured.skipped + ranked[1],
        power=measured.power,
        provenance=provenance(bundle),
        machine=machine,
    )


def write_pages(options: Options, report: Report, bundle: Bundle) -> None:
    """The report for people, in the formats that were asked for."""
    from calibration.reporting.markdown import markdown
    from calibration.reporting.page import render
    from engines.atomic import write_text

    if options.html is not None:
        write_text(options.html, render(report, bundle.spec))
    if options.markdown is not None:
        write_text(options.markdown, markdown(report))


def provenance(bundle: Bundle) -> dict[str, Any]:
    """Where the measured graphs come from: their build, and their hashes."""
    files = [file for file in bundle.manifest.files if file.kind == "onnx"]
    return {
        **bundle.manifest.provenance,
        "input_size": list(bundle.spec.input_size),
        "output_stride": bundle.spec.output_stride,
        "built_with": bundle.manifest.tools,
        "graphs": {file.name: file.sha256 for file in files},
    }


def show(result: Result) -> None:
    """Print the table, the worst layers, the gate and the verdict."""
    from calibration.reporting.facts import how_many
    from calibration.reporting.verdict import restless

    report = result.report
    print(f"{report.model} on {report.data} {report.split}, {how_many(report)} frames")
    print(
        f"{'precision':{WIDE}}{'target':13}{'mIoU':>7}{'drop':>7}  {'worst class':20}"
        f"{'bound. F':>9}{'as FP32':>9}{'p50 ms':>8}{'p99 ms':>8}{'MB':>7}"
    )
    for row in report.rows:
        print(line(row))
    for row in report.rows:
        if row.own and row.note:
            print(f"  {row.name}: {row.note}")
    for reason in report.skipped:
        print(f"  not run here: {reason}")
    for ranking in report.rankings:
        worst = ", ".join(f"{x.name} {x.logits_db:.0f} dB" for x in ranking.layers[:NAMED])
        print(f"  {ranking.precision} {ranking.flavour}, layers that hurt most: {worst}")
    gate = report.gate
    print(f"gate: {'passed' if gate.passed else 'FAILED'} (at most {gate.max_drop} mIoU)")
    for failure in gate.failures:
        print(f"  {failure}")
    warning = restless(report.rows)
    if warning:
        print(warning)
    print(report.verdict)
    print(f"stored in {result.bundle}" + (f"; page: {result.html}" if result.html else ""))


def line(row: Row) -> str:
    """One row of the printed table; "-" for what does not apply."""
    from calibration.numerals import number

    crf = "+crf" if row.crf else None
    parts = (row.precision, row.flavour, crf) if row.shipped else ("  try", row.flavour)
    name = " ".join(part for part in (*parts, row.method) if part)
    worst = "-"
    if row.worst_class_drop is not None and (row.precision, row.crf) != ("fp32", None):
        worst = f"{row.worst_class} {number(row.worst_class_drop)}"
    return (
        f"{name:{WIDE}}{row.target:13}{row.miou:7.2f}{number(row.drop, 2, '-'):>7}  {worst:20}"
        f"{number(row.boundary_f, 2, '-'):>9}{row.agreement:9.2f}"
        f"{number(row.p50_ms, 1, '-'):>8}{number(row.p99_ms, 1, '-'):>8}{row.bytes / 1e6:7.1f}"
    )


def main(argv: list[str] | None = None) -> int:
    """Command line entry point; returns the exit code."""
    return run_command(argv, parse, run, show)


if __name__ == "__main__":
    raise SystemExit(main())
