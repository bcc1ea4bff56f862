"""What each precision of a bundle costs and gains, on labelled frames: one page to decide from.

Every graph that onnxruntime runs here is scored against the truth and against FP32; the graphs of
this machine's target are timed, interleaved. The report is stored in the bundle, where
`runtime/stream.py --precision auto` finds it. A reduced precision over a limit gives exit code 3.
"""

from __future__ import annotations

import argparse
import datetime
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engines.command import as_json, parser, run_command
from engines.failures import GateFailed, UsageError

if TYPE_CHECKING:
    from calibration.accuracy import Row
    from calibration.verdict import Gate
    from calibration.worst_frames import WorstFrame
    from engines.bundle import Bundle

PACKAGES = ("onnxruntime", "numpy", "av", "pillow")  # what scores and times depend on


@dataclass(frozen=True)
class Options:
    """What to measure, on which frames, and what it may cost (points of mIoU and IoU)."""

    bundle: Path = Path("artifacts/camvid-mobilenetv2")
    data: str = "street:"
    split: str = "val"
    max_drop: float = 1.0
    max_class_drop: dict[str, float] = field(default_factory=dict)
    limit: int | None = None
    html: Path | None = None
    json: Path | None = None

    def __post_init__(self) -> None:
        for name, limit in {"--max-drop": self.max_drop, **self.max_class_drop}.items():
            if not limit >= 0:
                raise UsageError(f"{name}: a limit is 0 points or more, got {limit}")
        if self.limit is not None and self.limit < 1:
            raise UsageError(f"--limit: at least 1 frame, got {self.limit}")
        for path in (self.html, self.json):
            if path is not None and path.is_dir():
                raise UsageError(f"{path} is a folder: give the name of a file")


@dataclass(frozen=True)
class Report:
    """The report as it is stored in the bundle and written as JSON; percent, points, ms, bytes."""

    model: str
    data: str
    split: str
    images: int
    images_in_split: int
    measured_at: str
    verdict: str
    gate: Gate
    rows: list[Row]
    worst_frames: list[WorstFrame]
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
    p.add_argument("--bundle", type=Path, default=default.bundle, metavar="DIR")
    p.add_argument(
        "--data", default=default.data, metavar="SPEC",
        help="labelled frames: camvid:DIR, folder:DIR or street: (default: %(default)s)",
    )  # fmt: skip
    p.add_argument("--split", default=default.split, help="(default: %(default)s)")
    p.add_argument(
        "--max-drop", type=float, default=default.max_drop, metavar="X",
        help="points of mIoU that a reduced precision may cost (default: %(default)s)",
    )  # fmt: skip
    p.add_argument(
        "--max-class-drop", type=class_limit, action="append", default=[], metavar="NAME=X",
        help="points of IoU that one class may lose; may be repeated",
    )  # fmt: skip
    p.add_argument("--limit", type=int, metavar="N", help="measure N frames spread over the split")
    p.add_argument("--html", type=Path, metavar="FILE", help="also write the page")
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
    from calibration.accuracy import measure
    from calibration.page import render
    from calibration.preconditions import require_same_classes, require_writable
    from calibration.verdict import Limits, judge, named_limits, verdict
    from engines.atomic import write_text
    from engines.bundle import Bundle
    from engines.machine import describe_machine
    from scenes.dataset import open_dataset

    bundle = Bundle.open(options.bundle)
    limits = named_limits(Limits(options.max_drop, options.max_class_drop), bundle.spec.classes)
    dataset = open_dataset(options.data, options.split)
    require_same_classes(options.data, dataset, bundle)
    require_writable(bundle)
    machine = describe_machine(*PACKAGES)  # before measuring, so that the load is others'
    measured = measure(bundle, dataset, options.limit)
    report = Report(
        model=bundle.spec.name,
        data=options.data,
        split=options.split,
        images=measured.images,
        images_in_split=len(dataset),
        measured_at=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        verdict=verdict(measured.rows, limits),
        gate=judge(measured.rows, limits),
        rows=measured.rows,
        worst_frames=measured.worst,
        provenance=provenance(bundle),
        machine=machine,
    )
    bundle.add_report(as_json(report))
    if options.html is not None:
        write_text(options.html, render(report, bundle.spec))
    return Result(report, options.bundle, options.html)


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
    """Print the table, the gate and the verdict."""
    from calibration.verdict import restless

    report = result.report
    some = "" if report.images == report.images_in_split else f" of {report.images_in_split}"
    print(f"{report.model} on {report.data} {report.split}, {report.images}{some} frames")
    print(
        f"{'precision':12}{'target':10}{'mIoU':>7}{'drop':>7}  {'worst class':20}"
        f"{'bound. F':>9}{'as FP32':>9}{'p50 ms':>8}{'p99 ms':>8}{'MB':>7}"
    )
    for row in report.rows:
        print(line(row))
    for row in report.rows:
        if row.note:
            print(f"  {row.precision} {row.flavour or ''}: {row.note}".replace(" :", ":"))
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
    learned = "qat" if row.method == "qat" else None  # its FP32 was fine-tuned, too
    name = " ".join(part for part in (row.precision, row.flavour, learned) if part)
    worst = "-"
    if row.precision != "fp32" and row.worst_class_drop is not None:
        worst = f"{row.worst_class} {row.worst_class_drop:.2f}"
    return (
        f"{name:12}{row.target:10}{row.miou:7.2f}{number(row.drop, 2):>7}  {worst:20}"
        f"{number(row.boundary_f, 2):>9}{row.agreement:9.2f}"
        f"{number(row.p50_ms, 1):>8}{number(row.p99_ms, 1):>8}{row.bytes / 1e6:7.1f}"
    )


def number(value: float | None, digits: int) -> str:
    """A number, or "-" where there is none."""
    return "-" if value is None else f"{round(value, digits) + 0.0:.{digits}f}"  # + 0.0: no "-0.00"


def main(argv: list[str] | None = None) -> int:
    """Command line entry point; returns the exit code."""
    return run_command(argv, parse, run, show)


if __name__ == "__main__":
    raise SystemExit(main())
