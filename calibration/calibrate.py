"""Where a build's calibration ranges come from: shipped, cached, or taken from frames now."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import TYPE_CHECKING

from calibration.frames import CalibrationFrames
from engines.failures import Refused, UsageError
from engines.preprocess import VERSION
from engines.ranges import Ranges, RangesKey
from engines.spec import ModelSpec

if TYPE_CHECKING:
    import onnx

TOOLS = ("numpy", "onnx", "onnxruntime", "av")


def shipped_ranges(path: Path | None, model: str, spec: ModelSpec) -> Ranges:
    """The ranges beside a checkpoint, if they belong to it; else an error that says what to type.

    `model` is the sha256 of the checkpoint.
    """
    if path is None or not path.is_file():
        raise UsageError(
            "--int8 needs real frames to calibrate on, and no ranges ship with this model: add "
            "--data folder:DIR or --data camvid:DIR (frames from where the camera will be)"
        )
    ranges = Ranges.load(path)
    wanted = RangesKey(model, spec.fingerprint(), VERSION, frames="", method="")
    reason = ranges.misfit(wanted)
    if reason:
        raise Refused(f"{path} cannot be used: {reason}; calibrate again with --data SPEC")
    return ranges


def ranges_from_frames(
    graph: onnx.ModelProto,
    model: str,
    spec: ModelSpec,
    frames: CalibrationFrames,
    method: str,
    cache: Path | None,
) -> tuple[Ranges, bool]:
    """Ranges of the float graph over `frames`, and whether `cache` already held them.

    The cache counts only if checkpoint, spec, preprocessing, frames and method are all the same.
    """
    from calibration.observe import observe

    key = RangesKey(model, spec.fingerprint(), VERSION, frames.digest(), method)
    if cache is not None and cache.is_file():
        cached = Ranges.load(cache)
        if cached.misfit(key) is None:
            return cached, True
    tensors = observe(graph, frames, method)
    tools = {name: importlib.metadata.version(name) for name in TOOLS}
    return Ranges(key, len(frames), tensors, tools), False
