"""Find the CRF settings that help a bundle's model on labelled frames, or that none do.

The bundle's engine runs once over the frames; then settings are searched coarse to fine, off among
them, by mIoU and boundary F, cross-validated over contiguous blocks of frames (crf_search.py says
exactly how). The winner, or "off" where the gain is below noise, is written into the bundle with
its evidence, and into the spec beside the model's weights if --spec names it or the bundle was
built from the weights that ship here.
"""

from __future__ import annotations

import datetime
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engines.atomic import check_writable
from engines.command import as_json, parser, run_command
from engines.failures import UsageError
from engines.manifest import PRECISIONS

if TYPE_CHECKING:
    from calibration.crf_tuning.evidence import About, Tuning
    from calibration.crf_tuning.frames import CachedFrame
    from engines.bundle import Bundle
    from scenes.dataset import Dataset

PACKAGES = ("onnxruntime", "numpy")  # what the scores depend on
PLOTS = (".svg", ".png")


@dataclass(frozen=True)
class Options:
    """What to tune, and on which frames."""

    data: str
    bundle: Path = Path("artifacts/camvid-mobilenetv2")
    split: str = "val"
    precision: str = "fp32"
    frames: int = 120
    seed: int = 0
    spec: Path | None = None
    bundle_only: bool = False
    plot: Path | None = None
    json: Path | None = None

    def __post_init__(self) -> None:
        if self.spec is not None and self.bundle_only:
            raise UsageError("--spec and --bundle-only exclude each other: give one of them")
        if self.frames < 1:
            raise UsageError(f"--frames: at least 1, got {self.frames}")
        if self.seed < 0:
            raise UsageError(f"--seed: 0 or more, got {self.seed}")
        if self.plot is not None and self.plot.suffix not in PLOTS:
            raise UsageError(f"--plot: the file's name must end in {' or '.join(PLOTS)}")
        check_writable(self.plot)


@dataclass(frozen=True)
class Result:
    """A tuning and what was written."""

    tuning: Tuning
    written: list[Path]

    def to_json(self) -> Tuning:
        """The JSON file is the evidence itself."""
        return self.tuning


def parse(argv: list[str] | None) -> Options:
    """Read the command line."""
    default = Options("")
    p = parser(__doc__, "python calibration/tune_crf.py --data camvid:DIR --split val")
    add = p.add_argument
    add("--bundle", type=Path, default=default.bundle, metavar="DIR", help="to tune")
    add("--data", required=True, metavar="SPEC", help="labelled frames, e.g. camvid:DIR")
    add("--split", default=default.split, metavar="NAME", help="of --data")
    add("--precision", choices=PRECISIONS, default=default.precision, help="of the engine")
    add(
        "--frames", type=int, default=default.frames, metavar="N",
        help="at most N frames, spread evenly over the split",
    )  # fmt: skip
    add("--seed", type=int, default=default.seed, metavar="N", help="of the first candidates")
    add(
        "--spec", type=Path, metavar="FILE",
        help="also update this spec, and the .crf.json beside it (default: the shipped model's in "
        "train/weights, if the bundle was built from its very weights)",
    )  # fmt: skip
    add("--bundle-only", action="store_true", help="leave the specs beside weights alone")
    add("--plot", type=Path, metavar="FILE", help="draw the candidates: .png or .svg")
    return Options(**vars(p.parse_args(argv)))


def run(options: Options) -> Result:
    """Tune, then write the winner and the evidence."""
    from calibration.crf_tuning.spec import write_crf
    from calibration.reporting.preconditions import require_same_classes, require_writable
    from engines.bundle import Bundle
    from scenes.dataset import open_dataset

    bundle = Bundle.open(options.bundle)
    dataset = open_dataset(options.data, options.split)
    require_same_classes(options.data, dataset, bundle)
    require_writable(bundle)
    spec = spec_file(options, bundle)
    tuning = tune(options, bundle, dataset)
    evidence = as_json(tuning)
    bundle.set_crf(tuning.params, evidence)
    written = [options.bundle]
    if spec is not None:
        written += write_crf(spec, tuning.params, evidence)
    if options.plot is not None:
        from calibration.crf_tuning.plot import draw

        draw(tuning, options.plot)
        written.append(options.plot)
    return Result(tuning, written)


def spec_file(options: Options, bundle: Bundle) -> Path | None:
    """The spec beside weights that will be written, None for none; said before the work begins."""
    from calibration.crf_tuning.spec import require_same_model, shipped_spec

    if options.bundle_only:
        return None
    path = options.spec or shipped_spec(bundle)
    if path is None:
        print("only the bundle is updated; to keep the CRF for later builds, name the spec: --spec")
    else:
        require_same_model(path, bundle)
        print(f"updates the bundle and {path}; --bundle-only leaves the latter alone")
    return path


def tune(options: Options, bundle: Bundle, dataset: Dataset) -> Tuning:
    """Search and cross-validate; nothing is written."""
    from calibration.crf_tuning.evidence import conclude
    from calibration.crf_tuning.frames import load_frames
    from calibration.crf_tuning.search import cross_validate, search
    from calibration.crf_tuning.trials import Trials
    from engines.session import open_session

    started = time.monotonic()
    with open_session(bundle, options.precision) as session:
        frames = load_frames(session, dataset, options.frames)
    with Trials(frames, bundle.spec.classes) as trials:
        chosen = search(trials, range(len(frames)), options.seed, "all frames")
        folds = cross_validate(trials, options.seed)
        facts = about(options, bundle, frames, len(dataset), time.monotonic() - started)
        return conclude(trials, chosen, folds, facts)


def about(
    options: Options, bundle: Bundle, frames: list[CachedFrame], in_split: int, seconds: float
) -> About:
    """The facts around a tuning."""
    from calibration.crf_tuning.evidence import About
    from engines.machine import describe_machine

    provenance = bundle.manifest.provenance
    return About(
        model=bundle.spec.name,
        precision=options.precision,
        data=options.data,
        split=options.split,
        images=len(frames),
        images_in_split=in_split,
        frame_size=list(frames[0].truth.labels.shape),
        seed=options.seed,
        measured_at=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        seconds=round(seconds, 1),
        weights={key: provenance.get(key) for key in ("source", "source_sha256")},
        graph=bundle.graph(options.precision).sha256,
        machine=describe_machine(*PACKAGES),
    )


def show(result: Result) -> None:
    """Print before and after, per class too, the folds, and the verdict."""
    from calibration.crf_tuning.grid import text

    tuning = result.tuning
    facts = tuning.about
    what = f"{facts.model} {facts.precision} on {facts.data} {facts.split}"
    some = "" if facts.images == facts.images_in_split else f" of {facts.images_in_split}"
    print(f"{what}: {facts.images}{some} frames")
    print(f"{'':16}{'no CRF':>8}{'held out':>10}{'gain':>7}")
    for name, before, after in scores(tuning):
        print(f"{name:16}{number(before):>8}{number(after):>10}{change(before, after):>7}")
    for fold in tuning.folds:
        gain = fold.gain
        print(f"  without {fold.first} to {fold.last}: {text(gain.params)}, {gain.miou:+.2f} mIoU")
    print(
        f"{tuning.tried} settings tried in {facts.seconds:.0f} s; the best on all frames: "
        f"{text(tuning.chosen)} with mIoU {tuning.fitted.miou:.2f}"
    )
    print(tuning.verdict)
    print("written: " + ", ".join(map(str, result.written)))


def scores(tuning: Tuning) -> list[tuple[str, float | None, float | None]]:
    """The rows of the table: what it is, without the CRF, with it."""
    before, after = tuning.before, tuning.after
    means = [
        ("mIoU", before.miou, after.miou),
        ("boundary F", before.boundary_f, after.boundary_f),
        ("trimap accuracy", before.trimap_accuracy, after.trimap_accuracy),
        ("pixel accuracy", before.pixel_accuracy, after.pixel_accuracy),
    ]
    return means + [
        (f"  {name}", before.per_class[name], after.per_class[name]) for name in before.per_class
    ]


def number(value: float | None, form: str = ".2f") -> str:
    """A number, or "-" where there is none."""
    return "-" if value is None else format(value, form)


def change(before: float | None, after: float | None) -> str:
    """Points gained, signed; "-" where one of the two is missing."""
    return number(None if before is None or after is None else after - before, "+.2f")


def main(argv: list[str] | None = None) -> int:
    """Command line entry point; returns the exit code."""
    return run_command(argv, parse, run, show)


if __name__ == "__main__":
    raise SystemExit(main())
