"""What a model needs to be fed and read: the spec beside every checkpoint and in each bundle."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engines.failures import Refused

if TYPE_CHECKING:  # `engines.doctor` runs where NumPy is not installed yet
    import numpy as np
    from numpy.typing import NDArray

Colour = tuple[int, int, int]

CRF_REACH = 1e9  # beyond any use, and float32 arithmetic on it neither overflows nor vanishes


@dataclass(frozen=True)
class CrfParams:
    """Weights of the fully connected CRF (Krähenbühl and Koltun 2011, equation 3).

    k(f_i, f_j) = w1 exp(-|p_i-p_j|²/2σα² - |I_i-I_j|²/2σβ²) + w2 exp(-|p_i-p_j|²/2σγ²)

    σα and σγ are in pixels of the frame, σβ in 0..255 colour units; `temperature` divides the
    logits before the softmax that gives the unary.
    """

    w1: float
    sigma_alpha: float
    sigma_beta: float
    w2: float
    sigma_gamma: float
    iterations: int
    temperature: float = 1.0

    def __post_init__(self) -> None:
        for name in ("sigma_alpha", "sigma_beta", "sigma_gamma", "temperature"):
            value = getattr(self, name)
            if not 1 / CRF_REACH <= value <= CRF_REACH:
                raise ValueError(f"CRF {name} must be from 1e-9 to 1e9, got {value}")
        for name in ("w1", "w2"):
            value = getattr(self, name)
            if not abs(value) <= CRF_REACH:
                raise ValueError(f"CRF {name} must be from -1e9 to 1e9, got {value}")
        if self.iterations < 0:
            raise ValueError(f"CRF iterations must be >= 0, got {self.iterations}")


@dataclass(frozen=True)
class ModelSpec:
    """Everything a caller must know about a model; one JSON file, `<model>.json`.

    `mean` and `std` are in 0..255 units, per RGB channel, and are applied inside the graph.
    Frames of another size are stretched to `input_size` bilinearly (`resize`); the logits of
    [C, h, w] with h = ceil(H / `logits_stride`) are read back at the frame's own size.
    """

    name: str
    architecture: str
    classes: tuple[str, ...]
    palette: tuple[Colour, ...]
    input_size: tuple[int, int]  # height, width
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    output_stride: int = 16
    logits_stride: int = 4
    resize: str = "stretch-bilinear"
    crf: CrfParams | None = None

    def __post_init__(self) -> None:
        if not 1 <= len(self.classes) <= 254:
            raise ValueError(
                f"a model has 1 to 254 classes (255 = ignore), got {len(self.classes)}"
            )
        if len(self.palette) != len(self.classes):
            raise ValueError(f"{len(self.classes)} classes but {len(self.palette)} palette colours")
        if min(self.input_size) < 32:
            raise ValueError(f"input size {self.input_size} is below 32 pixels")
        if self.resize != "stretch-bilinear":
            raise ValueError(f"unknown resize rule {self.resize!r}; known: stretch-bilinear")

    @property
    def logits_size(self) -> tuple[int, int]:
        """Height and width of the logits for `input_size`."""
        height, width = self.input_size
        return -(-height // self.logits_stride), -(-width // self.logits_stride)

    def check_input(self, frames: NDArray[np.uint8]) -> None:
        """Raise `ValueError` unless frames are uint8 [N, H, W, 3] of the model's size."""
        height, width = self.input_size
        if frames.dtype != "uint8" or frames.shape[1:] != (height, width, 3):
            raise ValueError(
                f"model input is uint8 [N, {height}, {width}, 3], "
                f"got {frames.dtype} {list(frames.shape)}"
            )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data; `from_json` is its inverse."""
        return dataclasses.asdict(self)

    @staticmethod
    def from_json(data: dict[str, Any]) -> ModelSpec:
        """Build a spec from JSON data; unknown, missing or malformed fields raise `Refused`."""
        try:
            crf = data.get("crf")
            fields = {key: _frozen(value) for key, value in data.items() if key != "crf"}
            return ModelSpec(**fields, crf=CrfParams(**crf) if crf else None)
        except (TypeError, ValueError, AttributeError) as error:
            raise Refused(f"the model spec is not valid: {error}") from error

    def fingerprint(self) -> str:
        """Sha256 of what changes the network's numbers: preprocessing, size, stride, classes.

        The CRF, the name and the colours do not: retuning the CRF keeps calibration ranges valid.
        """
        data = self.to_json()
        for key in ("crf", "name", "palette"):
            del data[key]
        return hashlib.sha256(canonical_json(data).encode()).hexdigest()


def load_spec(path: Path) -> ModelSpec:
    """Read a spec file; a missing or malformed one raises `Refused`."""
    try:
        data = json.loads(path.read_text())
    except FileNotFoundError:
        raise Refused(f"no model spec at {path}: it must stand beside the checkpoint") from None
    except (OSError, ValueError) as error:
        raise Refused(f"{path} is not a readable model spec: {error}") from error
    return ModelSpec.from_json(data)


def canonical_json(data: object) -> str:
    """JSON with sorted keys and no spaces: equal data, equal text, equal digest."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value
