"""How much labels flicker on clips, with and without the evidence of the frames before.

Flicker is the share of still pixels whose label changes (scenes/flicker.py); "followed" and
"ghosts" say how many pixels carry the new or the old label where the truth changes, so that a
frozen mask cannot look good. Both columns come from the same logits.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engines.command import parser, run_command
from engines.failures import Refused, UsageError

if TYPE_CHECKING:
    from calibration.clips import Clip
    from crf.temporal import Floats
    from engines.session import Session
    from engines.spec import ModelSpec
    from scenes.dataset import Frame, Labels

PACKAGES = ("onnxruntime", "numpy", "av")


@dataclass(frozen=True)
class Options:
    """Which model, on which clips; at most `frames` of each."""

    clips: tuple[str, ...] = ("street:",)
    bundle: Path = Path("artifacts/camvid-mobilenetv2")
    precision: str = "fp32"
    split: str = "val"
    frames: int = 200
    crf: str = "off"
    json: Path | None = None

    def __post_init__(self) -> None:
        if self.frames < 2:
            raise UsageError(f"--frames {self.frames}: flicker needs at least 2")


@dataclass(frozen=True)
class Scores:
    """All in percent; what needs a truth is None without one."""

    flicker: float | None
    miou: float | None
    boundary_f: float | None
    followed: float | None
    ghosts: float | None


@dataclass(frozen=True)
class Row:
    """One clip without (`off`) and with (`on`) temporal evidence.

    `truth_flicker` is how much the truth itself changes where the picture does not.
    """

    clip: str
    frames: int
    still_percent: float | None
    truth_flicker: float | None
    off: Scores
    on: Scores
    core_ms: float  # thread CPU time of a frame's evidence, mean


@dataclass(frozen=True)
class Result:
    """All clips, and what they were measured with."""

    rows: list[Row]
    model: str
    precision: str
    crf: str
    settings: dict[str, float]
    machine: dict[str, str | int | float]


def parse(argv: list[str] | None) -> Options:
    """Read the command line."""
    default = Options()
    p = parser(__doc__, "python calibration/flicker.py camvid:DIR street: video.mp4")
    p.add_argument(
        "clips", nargs="*", default=default.clips, metavar="CLIP",
        help="camvid:DIR, folder:DIR, street:?seed=N or a video file (default: street:)",
    )  # fmt: skip
    p.add_argument("--bundle", type=Path, default=default.bundle, metavar="DIR", help="the model")
    p.add_argument(
        "--precision", default=default.precision, choices=("fp32", "fp16", "int8"), help="of it"
    )
    p.add_argument("--split", default=default.split, metavar="NAME", help="of labelled clips")
    p.add_argument(
        "--frames", type=int, default=default.frames, metavar="N",
        help="at most N of each clip",
    )  # fmt: skip
    p.add_argument(
        "--crf", default=default.crf, choices=("off", "fast", "exact"),
        help="refine the labels of both columns",
    )  # fmt: skip
    values = vars(p.parse_args(argv))
    return Options(**{**values, "clips": tuple(values["clips"])})


def run(options: Options) -> Result:
    """Measure every clip."""
    from calibration.clips import open_clip
    from crf.temporal import CHANGED, MEMORY, SAME
    from engines.bundle import Bundle
    from engines.machine import describe_machine
    from engines.session import open_session

    bundle = Bundle.open(options.bundle)
    clips = [open_clip(text, options.split, options.frames) for text in options.clips]
    for clip in clips:
        if clip.classes not in (None, bundle.spec.classes):
            raise Refused(
                f"{clip.name} has other classes than {bundle.spec.name}: give clips with the "
                "model's classes, or videos without labels"
            )
    machine = describe_machine(*PACKAGES)
    with open_session(bundle, options.precision, "cpu") as session:
        rows = [measure(clip, session, options.crf) for clip in clips]
    settings = {"memory": MEMORY, "same": SAME, "changed": CHANGED}
    return Result(rows, bundle.spec.name, options.precision, options.crf, settings, machine)


def measure(clip: Clip, session: Session, crf: str) -> Row:
    """Run a clip through the model once, and label each frame without and with evidence."""
    from tqdm import tqdm

    from crf.temporal import TemporalEvidence
    from engines.preprocess import fit_frame

    temporal, spent, frames = TemporalEvidence(), 0.0, 0
    label = labeller(session.spec, crf)
    off, on, perfect = (Column(session.spec.classes) for _ in range(3))
    for frame, truth in tqdm(clip.frames, clip.name, unit="frame", disable=None):
        image = fit_frame(frame, session.spec.input_size)
        logits = session.run(image[None])[0]
        start = time.thread_time()
        steadied = temporal.update(image, logits)
        spent += time.thread_time() - start
        off.add(frame, truth, label(frame, logits))
        on.add(frame, truth, label(frame, steadied))
        if truth is not None:
            perfect.add(frame, None, truth)
        frames += 1
    if frames < 2:
        raise Refused(f"{clip.name} has fewer than two frames: flicker needs consecutive ones")
    return Row(
        clip.name,
        frames,
        known(off.flicker.still_percent),
        known(perfect.flicker.percent),
        off.scores(),
        on.scores(),
        1e3 * spent / frames,
    )


def labeller(spec: ModelSpec, crf: str) -> Callable[[Frame, Floats], Labels]:
    """Labels [H, W] of a frame from its logits, with or without the CRF of the model."""
    from crf.dense_crf import MILD
    from crf.refinement import Refinement
    from engines.labels import upsample_argmax

    if crf == "off":
        return lambda frame, logits: upsample_argmax(logits, (frame.shape[0], frame.shape[1]))
    return Refinement(len(spec.classes), spec.crf or MILD, crf)


class Column:
    """The scores of one way to label a clip."""

    def __init__(self, classes: tuple[str, ...]) -> None:
        from scenes.flicker import FlickerScore, TurnoverScore
        from scenes.scores import SegmentationScores

        self.flicker = FlickerScore()
        self._turnover = TurnoverScore()
        self._segmentation = SegmentationScores(classes)
        self._labelled = False

    def add(self, frame: Frame, truth: Labels | None, labels: Labels) -> None:
        """Score the next frame."""
        self.flicker.add(frame, labels)
        if truth is not None:
            self._labelled = True
            self._turnover.add(truth, labels)
            self._segmentation.add(truth, labels)

    def scores(self) -> Scores:
        """What there is to say about the clip."""
        summary = self._segmentation.summary() if self._labelled else None
        return Scores(
            known(self.flicker.percent),
            summary.miou if summary else None,
            summary.boundary_f if summary else None,
            known(self._turnover.followed_percent),
            known(self._turnover.ghost_percent),
        )


def known(value: float) -> float | None:
    """The value, None for NaN: JSON has none."""
    return None if value != value else value


def show(result: Result) -> None:
    """Print one line per clip, off -> on."""
    print(f"{result.model} {result.precision}, crf {result.crf}; percent, off -> on")
    print(
        f"{'clip':22}{'frames':>7}{'still':>7}{'flicker':>16}{'mIoU':>16}{'boundary F':>16}"
        f"{'followed':>16}{'ghosts':>16}{'core-ms':>9}"
    )
    for row in result.rows:
        names = ("flicker", "miou", "boundary_f", "followed", "ghosts")
        cells = "".join(f"{change(row, name):>16}" for name in names)
        still = "-" if row.still_percent is None else f"{row.still_percent:.1f}"
        print(f"{row.clip:22}{row.frames:7}{still:>7}{cells}{row.core_ms:9.2f}")


def change(row: Row, name: str) -> str:
    """A score without and with evidence, "-" where there is none."""
    off, on = getattr(row.off, name), getattr(row.on, name)
    return "-" if off is None or on is None else f"{off:.2f} -> {on:.2f}"


def main(argv: list[str] | None = None) -> int:
    """Command line entry point; returns the exit code."""
    return run_command(argv, parse, run, show)


if __name__ == "__main__":
    raise SystemExit(main())
