"""Calibration ranges on disk: what each activation of a model spans on real frames.

Tensors are named by module path (`backbone.blocks.1.0.conv_pw/Conv`), never by an exporter's
numbering, so one file serves every re-export of the same checkpoint. The key says what the numbers
belong to; tools are recorded for the reader and are not part of it.
"""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engines.atomic import write_text
from engines.failures import Refused

FORMAT = 1


@dataclass(frozen=True)
class RangesKey:
    """What calibration ranges depend on; equal keys mean equal numbers.

    `frames` is a digest of the frames' own bytes, independent of their order and names.
    """

    model: str  # sha256 of the checkpoint, or of the ONNX file for --onnx
    spec: str  # ModelSpec.fingerprint()
    preprocessing: str  # engines.preprocess.VERSION
    frames: str
    method: str
    format: int = FORMAT


@dataclass(frozen=True)
class Ranges:
    """Lowest and highest value of each activation tensor."""

    key: RangesKey
    frame_count: int
    tensors: dict[str, tuple[float, float]]
    tools: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, (low, high) in self.tensors.items():
            if not (math.isfinite(low) and math.isfinite(high) and low <= high):
                raise Refused(
                    f"calibration range of {name} is [{low}, {high}]: the model overflows or the "
                    "file is damaged; calibrate again with --data"
                )

    def save(self, path: Path) -> None:
        """Write as JSON, atomically; equal ranges give equal bytes."""
        data = dataclasses.asdict(self)
        write_text(path, json.dumps(data, indent=1, sort_keys=True) + "\n")

    @staticmethod
    def load(path: Path) -> Ranges:
        """Read a ranges file; anything but a valid one raises `Refused`."""
        try:
            data: dict[str, Any] = json.loads(path.read_text())
            key = RangesKey(**data.pop("key"))
            tensors = {
                name: (float(low), float(high)) for name, (low, high) in data["tensors"].items()
            }
            return Ranges(key, int(data["frame_count"]), tensors, dict(data["tools"]))
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise Refused(f"{path} is not a valid ranges file: {error}") from error

    def misfit(self, wanted: RangesKey) -> str | None:
        """Why these ranges do not belong to `wanted`, or None if they do.

        A wanted field that is empty matches anything: ranges shipped beside a checkpoint fit
        whichever frames they were taken from.
        """
        names = {
            "model": "the checkpoint has changed",
            "spec": "the model spec has changed",
            "preprocessing": "the preprocessing has changed",
            "frames": "the frames have changed",
            "method": "the calibration method is another one",
            "format": "the file format is another version",
        }
        for name, reason in names.items():
            mine, theirs = getattr(self.key, name), getattr(wanted, name)
            if theirs and mine != theirs:
                return f"{reason} since the ranges were taken"
        return None
