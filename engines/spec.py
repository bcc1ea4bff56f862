"""What a model needs to be fed and read: the spec beside every checkpoint and in each bundle."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from engines.failures import MALFORMED, Refused

if TYPE_CHECKING:  # `engines.doctor` runs where NumPy is not installed yet
    import numpy as np
    from numpy.typing import NDArray

Colour = tuple[int, int, int]

CRF_REACH = 1e9  # beyond any use, and float32 arithmetic on it neither overflows nor vanishes
CRF_ITERATIONS = 1000  # the paper's plots end at 20; a billion of them would look like a hang
SIDES = (32, 2**14)  # pixels of a frame, least and most
STRIDES = (1, 64)


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
        if not _whole(self.iterations, 0, CRF_ITERATIONS):
            raise ValueError(
                f"CRF iterations must be 0 to {CRF_ITERATIONS}, got {self.iterations!r}"
            )


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
        for problem in self._problems():
            raise ValueError(problem)

    def _problems(self) -> Iterator[str]:
        if not _is_file_name(self.name):
            yield f"the name {self.name!r} is no file name, which it becomes"
        if not _is_word(self.architecture):
            yield f"the architecture {self.architecture!r} is no word"
        if not all(map(_is_word, self.classes)):
            yield "classes are not a list of printable names"
        if not 1 <= len(self.classes) <= 254:
            yield f"a model has 1 to 254 classes (255 = ignore), got {len(self.classes)}"
        if len(self.palette) != len(self.classes):
            yield f"{len(self.classes)} classes but {len(self.palette)} palette colours"
        if not all(_three(colour, lambda part: _whole(part, 0, 255)) for colour in self.palette):
            yield "the palette's colours are not three whole numbers of 0 to 255 each"
        height, width = self.input_size
        if not (_whole(height, *SIDES) and _whole(width, *SIDES)):
            yield f"input size {self.input_size} is not of {SIDES[0]} to {SIDES[1]} pixels each"
        if not _three(self.mean, lambda part: _number(part, -CRF_REACH, CRF_REACH)):
            yield f"mean {self.mean} is not three numbers"
        if not _three(self.std, lambda part: _number(part, 1 / CRF_REACH, CRF_REACH)):
            yield f"std {self.std} is not three numbers above 0"
        for stride in (self.output_stride, self.logits_stride):
            if not _whole(stride, *STRIDES):
                yield f"a stride is from {STRIDES[0]} to {STRIDES[1]}, got {stride!r}"
        if self.resize != "stretch-bilinear":
            yield f"unknown resize rule {self.resize!r}; known: stretch-bilinear"

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
        except MALFORMED as error:
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
        if not path.is_file():  # a named pipe would be waited for, and /dev/zero has no end
            raise Refused(f"no model spec at {path}: it must stand beside the checkpoint")
        data = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise Refused(f"{path} is not a readable model spec: {error}") from error
    return ModelSpec.from_json(data)


def canonical_json(data: object) -> str:
    """JSON with sorted keys and no spaces: equal data, equal text, equal digest."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value


def _three(values: Any, check: Callable[[Any], bool]) -> bool:
    return isinstance(values, tuple) and len(values) == 3 and all(map(check, values))


def _whole(value: Any, low: int, high: int) -> bool:
    return isinstance(value, Integral) and low <= int(value) <= high


def _number(value: Any, low: float, high: float) -> bool:
    return isinstance(value, Real) and low <= float(value) <= high


def _is_word(value: Any) -> bool:
    return isinstance(value, str) and value != "" and value.isprintable()


def _is_file_name(value: Any) -> bool:
    """A bundle is written to artifacts/NAME, weights to NAME.safetensors."""
    return _is_word(value) and PurePath(value).name == value != ".." and "\\" not in value
