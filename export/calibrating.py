"""Calibration within a build: which scheme, and what the frames look like.

Frames are divided: one part is observed, the other judges schemes and mixed graphs, so neither is
chosen by what it was made from; no evaluation split is ever read.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calibration.calibrate import Calibration, ranges_from_frames, shipped_ranges
from calibration.frames import HELD_OUT, RECOMMENDED, CalibrationFrames
from calibration.scheme import Scheme
from engines.failures import Refused, UsageError
from engines.input_statistics import input_statistics
from engines.ranges import Ranges
from engines.spec import load_spec
from export.calibrated import Calibrated, Choice, beside, load
from export.progress import tell

if TYPE_CHECKING:
    from onnx import ModelProto

    from export.build_engine import Options
    from export.plans.settings import Size
    from export.source import Origin

AUTO = "auto"


@dataclass(frozen=True)
class Frames:
    """What a build calibrates on: frames to observe, and others to judge on."""

    observed: CalibrationFrames
    held_out: CalibrationFrames


def open_frames(options: Options, origin: Origin) -> Frames | None:
    """The frames of `--data`, divided; None without it. Too few raise `Refused`."""
    if options.data is None:
        return None
    judged = HELD_OUT if options.scheme == AUTO or options.precision == "mixed" else 0
    frames = Frames(
        *CalibrationFrames.open_divided(
            options.data, options.split, origin.spec.input_size, options.frames, judged
        )
    )
    count = len(frames.observed)
    if count < RECOMMENDED:
        tell(f"WARNING: only {count} calibration frames, better {RECOMMENDED} or more")
    return frames


def shipped(options: Options, origin: Origin) -> Calibrated | None:
    """What stands beside the source file; None where there is nothing and INT8 is not asked for."""
    ranges, folder = beside(origin.path)
    quantizes = options.precision in ("int8", "mixed")
    present = _is_file(ranges)
    if options.input_size is not None and present:
        own = load_spec(origin.path.with_suffix(".json")).input_size
        if own != origin.spec.input_size:
            _tell_other_size(own, origin.spec.input_size, quantizes)
            return None
    if not quantizes and not present:
        tell("no calibration data: the INT8 graphs are left out (give --data to have them)")
        return None
    found = load(
        shipped_ranges(ranges if present else None, origin.digest, origin.spec), folder, origin.spec
    )
    if options.precision == "mixed" and not found.mixed:
        raise UsageError(
            "--mixed searches on real frames, and no search ships with this model: add "
            "--data folder:DIR or --data camvid:DIR"
        )
    return found


def _is_file(path: Path) -> bool:
    """Whether a file is there; one whose name would be longer than the system allows is not."""
    try:
        return path.is_file()
    except OSError:
        return False


def _tell_other_size(own: Size, asked: Size, quantizes: bool) -> None:
    """Ranges were taken at the model's own size: at another INT8 has none, which is said."""
    text = f"what ships for INT8 was measured at {own[0]}x{own[1]}, not at {asked[0]}x{asked[1]}"
    if quantizes:
        raise UsageError(f"{text}: add --data SPEC")
    tell(f"{text}: the INT8 graphs are left out (give --data to have them)")


def calibrate(
    options: Options, origin: Origin, graph: ModelProto, frames: Frames, bundle: Path
) -> Calibrated:
    """Everything about INT8 from frames; what `bundle` already holds for the same is taken."""
    from calibration.frame_checks.examination import quick_check

    for finding in quick_check(frames.observed):
        tell(f"WARNING: {finding.message}")
    tell(f"calibrating on {len(frames.observed)} frames of {options.data}")
    if options.scheme == AUTO:
        found = _chosen(origin, graph, frames, bundle)
    else:
        scheme, cache = Scheme.parse(options.scheme), bundle / "ranges.json"
        ranges, cached = ranges_from_frames(
            graph, origin.digest, origin.spec, frames.observed, scheme, cache
        )
        if cached:
            tell("the same ranges are in the bundle already: taken from there")
        found = Calibrated(ranges)
    return dataclasses.replace(found, light=input_statistics(frames.observed))


def _chosen(origin: Origin, graph: ModelProto, frames: Frames, bundle: Path) -> Calibrated:
    from calibration.choose import choose

    calibration = Calibration(graph, origin.digest, origin.spec, frames.observed)
    held_out = frames.held_out.digest()
    known = _known(calibration, held_out, bundle, origin)
    if known is not None:
        tell("the same schemes were tried for the bundle already: taken from there")
        return known
    best, *others = choose(calibration, frames.held_out)
    tell(f"chosen on {len(frames.held_out)} held-out frames: {best.scheme}")
    scores: dict[str, Any] = {
        str(item.scheme): {f: dataclasses.asdict(x) for f, x in item.fidelity.items()}
        for item in (best, *others)
    }
    choice = Choice(best.ranges.key.frames, held_out, scores)
    return Calibrated(best.ranges, tuple(item.ranges for item in others), choice)


def _known(
    calibration: Calibration, held_out: str, bundle: Path, origin: Origin
) -> Calibrated | None:
    """What the bundle holds of an equal choice: same model, frames, held-out frames and format."""
    if not (bundle / "ranges.json").is_file():
        return None
    try:
        ranges = Ranges.load(bundle / "ranges.json")
        known = load(ranges, bundle, origin.spec)
    except Refused as error:
        tell(f"calibrating anew: {error}")
        return None
    reason = ranges.misfit(calibration.key(Scheme.parse(ranges.key.method)))
    same = known.choice is not None and known.choice.held_out == held_out
    return known if reason is None and same else None
