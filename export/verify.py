"""Verify a bundle layer by layer: is every graph in it the network, and if not, since which layer?

PyTorch in FP32, rebuilt from the bundle's own checkpoint, against the exported graph, FP16 (also as
real half arithmetic in PyTorch) and INT8: what has added up at every layer, and what the layer does
by itself. Every atrous-separable convolution is also held against a loop that is written out. The
graphs then run untouched: labels like FP32's, no NaN, equal runs, equal rows of a batch. The first
layer that breaks is named, with the command that keeps it in float. A broken limit is exit code 3.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from engines.atomic import check_writable
from engines.command import parser, run_command
from engines.failures import GateFailed, UsageError

if TYPE_CHECKING:
    from export.verification.report import Report

TARGETS = ("cpu", "openvino", "tensorrt", "tensorrt-rtx")
PRECISIONS = ("fp16", "int8", "mixed")
SHOWN = 3  # worst layers and findings in the printed summary; the page has more


@dataclass(frozen=True)
class Options:
    """What to verify, on what, and how good it has to be."""

    bundle: Path = Path("artifacts/camvid-mobilenetv2")
    precision: tuple[str, ...] = ()
    target: str = "cpu"
    frames: int = 3  # each takes 12 seconds of a core for the bundled model
    data: str | None = None
    split: str = "val"
    min_sqnr: float | None = None
    min_agreement: float | None = None
    html: Path | None = None
    json: Path | None = None

    def __post_init__(self) -> None:
        if self.frames < 1:
            raise UsageError(f"--frames: at least 1, got {self.frames}")
        if self.min_agreement is not None and not 0 <= self.min_agreement <= 1:
            raise UsageError(f"--min-agreement: a share from 0 to 1, got {self.min_agreement}")
        check_writable(self.html)


@dataclass(frozen=True)
class Result:
    """A report and where its page went; a broken limit is its exit code."""

    report: Report
    html: Path | None = field(default=None)

    @property
    def exit_code(self) -> int:
        """0, or 3 where a limit is broken."""
        return 0 if self.report.passed else GateFailed.exit_code

    def to_json(self) -> Report:
        """The JSON file is the report itself."""
        return self.report


def parse(argv: list[str] | None) -> Options:
    """Read the command line."""
    default = Options()
    p = parser(
        __doc__, "python export/verify.py --bundle artifacts/camvid-mobilenetv2 --html v.html"
    )
    p.add_argument("--bundle", type=Path, default=default.bundle, metavar="DIR", help="to verify")
    p.add_argument(
        "--precision", type=precisions, default=default.precision, metavar="P,P",
        help=f"of {', '.join(PRECISIONS)} (default: all that the bundle has)",
    )  # fmt: skip
    p.add_argument(
        "--target", choices=TARGETS, default=default.target,
        help="engines to run, or for tensorrt-rtx without a GPU to build",
    )  # fmt: skip
    p.add_argument("--frames", type=int, default=default.frames, metavar="N",
                   help="run N frames")  # fmt: skip
    p.add_argument(
        "--data", metavar="SPEC",
        help="frames: images:DIR, camvid:DIR, ... (default: the bundle's own golden ones)",
    )  # fmt: skip
    p.add_argument("--split", default=default.split, metavar="NAME", help="of --data")
    p.add_argument(
        "--min-sqnr", type=float, metavar="X",
        help="decibels that an INT8 layer must keep by itself (default: 20)",
    )  # fmt: skip
    p.add_argument(
        "--min-agreement", type=float, metavar="X",
        help="share of labels that INT8 must have like FP32 (default: 0.9)",
    )  # fmt: skip
    p.add_argument("--html", type=Path, metavar="FILE", help="also write the page")
    return Options(**vars(p.parse_args(argv)))


def precisions(text: str) -> tuple[str, ...]:
    """An argparse type: `fp16,int8` -> ("fp16", "int8")."""
    names = tuple(part.strip() for part in text.split(","))
    for name in names:
        if name not in PRECISIONS:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(PRECISIONS)}")
    return names


def run(options: Options) -> Result:
    """Measure, judge, and write the page if asked."""
    from export.verification.recipe import verify

    report = verify(options)
    if options.html is not None:
        from engines.atomic import write_text
        from export.verification.page import render

        write_text(options.html, render(report))
    return Result(report, options.html)


def show(result: Result) -> None:
    """Print a line for each precision, what breaks, and the verdict."""
    from export.verification.summary import lines

    print("\n".join(lines(result.report, SHOWN)))
    if result.html:
        print(f"page: {result.html}")


def main(argv: list[str] | None = None) -> int:
    """Command line entry point; returns the exit code."""
    return run_command(argv, parse, run, show)


if __name__ == "__main__":
    raise SystemExit(main())
