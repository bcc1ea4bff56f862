"""Calibration ranges on disk: what each activation of a model spans on real frames, and what else
that calibration found out.

Tensors and nodes are named by module path (`backbone.blocks.1.0.conv_pw/Conv`), never by an
exporter's numbering, so one file serves every re-export of the same checkpoint. The key says what
the numbers belong to; tools are recorded for the reader and are not part of it.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engines.atomic import write_text
from engines.failures import MALFORMED, Refused

FORMAT = 2  # 2: factors, biases, clipped; method is a whole scheme
FLAVOURS = ("u8", "s8")

Channels = dict[str, list[float]]  # convolution node -> one number per output channel


@dataclass(frozen=True)
class RangesKey:
    """What calibration ranges depend on; equal keys mean equal numbers.

    `frames` is a digest of the frames' own bytes, independent of their order and names; `method`
    is the word of a whole scheme, as `mse+equalise+bias`.
    """

    model: str  # sha256 of the checkpoint, or of the ONNX file for --onnx
    spec: str  # ModelSpec.fingerprint()
    preprocessing: str  # engines.preprocess.VERSION
    frames: str
    method: str
    format: int = FORMAT


@dataclass(frozen=True)
class Ranges:
    """Lowest and highest value of each activation tensor, and the repairs that go with them.

    The ranges are those of the graph after its convolutions' outputs were divided by `factors` and
    `biases`, which differ by flavour, were added.
    """

    key: RangesKey
    frame_count: int
    tensors: dict[str, tuple[float, float]]
    tools: dict[str, str] = field(default_factory=dict)
    factors: Channels = field(default_factory=dict)
    biases: dict[str, Channels] = field(default_factory=dict)
    clipped: dict[str, float] = field(default_factory=dict)  # share of values outside the range

    def __post_init__(self) -> None:
        for problem in self._problems():
            raise Refused(
                f"{problem}: the model overflows or the file is damaged; calibrate again with "
                "--data"
            )

    def _problems(self) -> Iterator[str]:
        for name, (low, high) in self.tensors.items():
            if not (math.isfinite(low) and math.isfinite(high) and low <= high):
                yield f"calibration range of {name} is [{low}, {high}]"
        for name, share in self.clipped.items():
            if name not in self.tensors or not 0 <= share <= 1:
                yield f"clipped share of {name} is {share}"
        for flavour in self.biases.keys() - set(FLAVOURS):
            yield f"biases for a flavour called {flavour!r}"
        for name, values in self.factors.items():
            if not values or not all(math.isfinite(value) and value > 0 for value in values):
                yield f"equalisation factors of {name} are not all positive"
        for flavour, biases in self.biases.items():
            for name, values in biases.items():
                if not values or not all(map(math.isfinite, values)):
                    yield f"{flavour} biases of {name} are not all finite"
                if len(values) != len(self.factors.get(name, values)):
                    yield f"{name} has {len(values)} biases and another number of factors"

    def text(self) -> str:
        """As JSON; equal ranges give equal texts."""
        return json.dumps(dataclasses.asdict(self), indent=1, sort_keys=True) + "\n"

    def save(self, path: Path) -> None:
        """Write the text, atomically."""
        write_text(path, self.text())

    @staticmethod
    def load(path: Path) -> Ranges:
        """Read a ranges file; anything but a valid one raises `Refused`.

        One of an older format loads, too, so that `misfit` can tell what is wrong with it.
        """
        try:
            data: dict[str, Any] = json.loads(path.read_text())
            key = RangesKey(**data["key"])
            return Ranges(
                key,
                int(data["frame_count"]),
                {name: (float(low), float(high)) for name, (low, high) in data["tensors"].items()},
                dict(data["tools"]),
                _channels(data.get("factors", {})),
                {flavour: _channels(b) for flavour, b in data.get("biases", {}).items()},
                {name: float(share) for name, share in data.get("clipped", {}).items()},
            )
        except (OSError, *MALFORMED) as error:
            raise Refused(f"{path} is not a valid ranges file: {error}") from error
        except Refused as error:
            raise Refused(f"{path}: {error}") from error

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


def _channels(data: dict[str, Any]) -> Channels:
    return {name: [float(value) for value in values] for name, values in data.items()}
