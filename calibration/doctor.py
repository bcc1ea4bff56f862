"""Look at calibration frames before a model is calibrated on them, and say what is wrong.

Blank, dark, blurred, doubled and unreadable frames, frames that the evaluation also uses, classes
that never appear; with --bundle also how many frames are enough for its ranges, and which few of
them stretch the ranges as far as all do. docs/calibration_data.md explains each warning.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engines.command import parser, run_command
from engines.failures import GateFailed, UsageError

if TYPE_CHECKING:
    from calibration.frame_checks.coverage import ClassShare
    from calibration.frame_checks.examination import Examination
    from calibration.frame_checks.faithful_counts import CountScore
    from calibration.frame_checks.findings import Finding
    from engines.bundle import Bundle
    from scenes.dataset import Dataset


@dataclass(frozen=True)
class Options:
    """Which frames to examine, against what, for which model."""

    data: str
    split: str = "train"
    against: tuple[str, ...] = ()
    bundle: Path | None = None
    frames: int | None = None
    fidelity: bool = False
    plot: Path | None = None
    copy_to: Path | None = None
    strict: bool = False
    json: Path | None = None

    def __post_init__(self) -> None:
        if self.frames is not None and self.frames < 1:
            raise UsageError(f"--frames: at least 1 frame, got {self.frames}")
        for flag, value in (("--fidelity", self.fidelity), ("--copy-to", self.copy_to)):
            if value and self.bundle is None:
                raise UsageError(f"{flag} needs a model whose ranges can be measured: add --bundle")
        if self.plot is not None and self.plot.suffix not in (".png", ".svg"):
            raise UsageError(f"--plot {self.plot}: name a .png or an .svg")


@dataclass(frozen=True)
class Needs:
    """How much of the frames a model's ranges need.

    `curve[i]` is the part of the full ranges that i + 1 frames span, in the mean of random orders;
    `subset` names the few that span all of it.
    """

    enough_frames: int | None
    curve: list[float]
    subset: list[str]
    fidelity: list[CountScore]


@dataclass(frozen=True)
class Checkup:
    """What was found; the JSON file is `to_json`."""

    data: str
    split: str
    frames_in_split: int
    compared_with: list[str]
    examination: Examination = field(repr=False)
    distinct: int
    classes: list[ClassShare]
    warnings: list[Finding]
    needs: Needs | None
    copied_to: Path | None
    strict: bool

    @property
    def exit_code(self) -> int:
        """0; with --strict 3 where there is any warning."""
        return GateFailed.exit_code if self.strict and self.warnings else 0

    def to_json(self) -> dict[str, Any]:
        """All numbers; frames by their names."""
        return {
            "data": self.data,
            "split": self.split,
            "frames": len(self.examination.looks),
            "frames_in_split": self.frames_in_split,
            "distinct": self.distinct,
            "compared_with": self.compared_with,
            "warnings": self.warnings,
            "classes": self.classes,
            "looks": self.examination.looks,
            "enough_frames": None if self.needs is None else self.needs.enough_frames,
            "curve": [] if self.needs is None else self.needs.curve,
            "subset": [] if self.needs is None else self.needs.subset,
            "fidelity": [] if self.needs is None else self.needs.fidelity,
            "copied_to": self.copied_to,
        }


def parse(argv: list[str] | None) -> Options:
    """Read the command line."""
    p = parser(__doc__, "python calibration/doctor.py --data camvid:DIR --bundle DIR --plot d.png")
    p.add_argument(
        "--data",
        required=True,
        metavar="SPEC",
        help="frames: camvid:DIR, folder:DIR, images:DIR or street:",
    )
    p.add_argument("--split", default=Options.split, metavar="NAME", help="of --data")
    p.add_argument(
        "--against", action="append", default=[], metavar="SPLIT",
        help="look for the same frames in this split of the data, or in SPEC/SPLIT; may be "
        "repeated (default: val, if there is one)",
    )  # fmt: skip
    p.add_argument("--bundle", type=Path, metavar="DIR", help="the model to be calibrated")
    p.add_argument(
        "--frames", type=int, metavar="N",
        help="examine N frames, spread evenly over the split (default: all)",
    )  # fmt: skip
    p.add_argument(
        "--fidelity", action="store_true",
        help="also calibrate on an eighth, a quarter, half and all, and score each against FP32",
    )  # fmt: skip
    p.add_argument("--plot", type=Path, metavar="FILE", help="draw what was found: .png or .svg")
    p.add_argument(
        "--copy-to", type=Path, metavar="DIR",
        help="write the few frames that stretch all ranges, as a data set",
    )  # fmt: skip
    p.add_argument("--strict", action="store_true", help="exit code 3 if there is any warning")
    values = vars(p.parse_args(argv))
    return Options(**{**values, "against": tuple(values["against"])})


def run(options: Options) -> Checkup:
    """Examine the frames, compare them with other splits, and measure the model's needs."""
    from calibration.frame_checks.duplicates import group
    from calibration.frame_checks.examination import examine, set_findings
    from calibration.frame_checks.leaks import evaluation_splits, find_leaks
    from calibration.frame_checks.subset import check_target
    from calibration.frames import divide
    from engines.bundle import Bundle
    from scenes.dataset import open_dataset

    if options.copy_to is not None:
        check_target(options.copy_to)
    bundle = None if options.bundle is None else Bundle.open(options.bundle)
    size = None if bundle is None else bundle.spec.input_size
    dataset = open_dataset(options.data, options.split)
    evaluation = evaluation_splits(options.data, options.split, options.against)
    chosen, _ = divide(len(dataset), options.frames or len(dataset), held_out=0)
    examination = examine(dataset, chosen, size)
    leaks = find_leaks(examination.prints, evaluation, options.split, size)
    needs = None if bundle is None else measure_needs(options, bundle, dataset, examination)
    warnings = [*set_findings(examination, size), *leaks]
    if needs is not None and needs.enough_frames is None:
        warnings.append(growing(needs))
    checkup = Checkup(
        data=options.data,
        split=options.split,
        frames_in_split=len(dataset),
        compared_with=list(evaluation),
        examination=examination,
        distinct=group(examination.prints).distinct,
        classes=examination.coverage.shares(),
        warnings=warnings,
        needs=needs,
        copied_to=options.copy_to,
        strict=options.strict,
    )
    if options.plot is not None:
        from calibration.frame_checks.plot import draw

        draw(checkup, options.plot)
    return checkup


def measure_needs(
    options: Options, bundle: Bundle, dataset: Dataset, examination: Examination
) -> Needs:
    """Run the model's float graph over the readable frames; copy the covering ones if asked."""
    import onnx

    from calibration.frame_checks.extremes import coverage_curve, enough, extremes
    from calibration.frame_checks.faithful_counts import scores_by_count
    from calibration.frame_checks.subset import at_least, copy_frames, covering
    from calibration.frames import CalibrationFrames

    size, places = bundle.spec.input_size, examination.indices
    graph = onnx.load_from_string(bundle.read(bundle.graph("fp32")))
    found = extremes(graph, CalibrationFrames(dataset, size, places))
    curve, subset = coverage_curve(found), covering(found)
    if options.copy_to is not None:
        chosen = at_least(subset, len(places))
        copy_frames(dataset, (places[index] for index in chosen), options.copy_to)
    return Needs(
        enough(curve),
        curve.round(5).tolist(),
        [examination.looks[index].name for index in subset],
        scores_by_count(graph, dataset, places, size) if options.fidelity else [],
    )


def growing(needs: Needs) -> Finding:
    """The warning of a set that is too small for a model's ranges."""
    from calibration.frame_checks.findings import Finding

    count = len(needs.curve)
    half = needs.curve[max(0, count // 2 - 1)]
    text = (
        f"ranges still grow with every frame: half of the {count} frames span {half:.1%} of what "
        "all span, so twice as many would stretch them again; add different frames, or use a "
        "method that cuts outliers (percentile, mse)"
    )
    return Finding("ranges-grow", text)


def show(checkup: Checkup) -> None:
    """Print what was found, the warnings last."""
    from calibration.frame_checks.subset import spec_of

    frames = len(checkup.examination.looks)
    some = "" if frames == checkup.frames_in_split else f" of {checkup.frames_in_split}"
    print(f"{checkup.data} {checkup.split}: {frames}{some} frames, {checkup.distinct} distinct")
    for share in checkup.classes:
        print(f"  {share.name:20}{share.pixels:8.3f} % of pixels, in {share.frames} frames")
    print(f"compared with: {', '.join(checkup.compared_with) or 'no evaluation split'}")
    if checkup.needs is not None:
        show_needs(checkup.needs)
    if checkup.copied_to is not None:
        print(f"copied to {checkup.copied_to}: use it with --data {spec_of(checkup.copied_to)}")
    for warning in checkup.warnings:
        print(f"WARNING {warning.code}: {warning.message}")
    count = len(checkup.warnings)
    print(f"{count} warning{'s' * (count > 1)}" if count else "no warning")


def show_needs(needs: Needs) -> None:
    """Print how many frames are enough, and which few do it."""
    from calibration.frame_checks.extremes import ENOUGH

    if needs.enough_frames is not None:
        print(f"enough frames: any {needs.enough_frames} span {ENOUGH:.0%} of all ranges")
    print(f"the same ranges from {len(needs.subset)} frames: {', '.join(needs.subset)}")
    for score in needs.fidelity:
        print(
            f"  calibrated on {score.frames:4}: {score.fidelity.agreement:.2f} % of the pixels as "
            f"FP32, mIoU with FP32's masks {score.fidelity.miou:.2f}"
        )


def main(argv: list[str] | None = None) -> int:
    """Command line entry point; returns the exit code."""
    return run_command(argv, parse, run, show)


if __name__ == "__main__":
    raise SystemExit(main())
