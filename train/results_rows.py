"""The rows of docs/results.md, and the JSON file in which each one's measurement is kept."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines.atomic import write_text
from engines.command import as_json
from engines.failures import MALFORMED, Refused
from engines.spec import CrfParams
from scenes.scores import Summary
from train.cost import ONCE, Cost, Strategy
from train.published import MS, MS_FLIP

REFERENCE = "camvid-mobilenetv2"  # the model that ships with the repository
STRATEGIES = {"once": ONCE, "flip": Strategy(flip=True), "ms": MS, "ms-flip": MS_FLIP}

# Heads on the reference's trunk, trained alike (`train/results_heads.py`).
V3PLUS = {
    "v3plus": "deeplabv3plus_mobilenetv2",
    "v3plus-dense": "deeplabv3plus_mobilenetv2,dense",
    "v3plus-no-decoder": "deeplabv3plus_mobilenetv2,no-decoder",
    "v3plus-no-decoder-dense": "deeplabv3plus_mobilenetv2,no-decoder,dense",
}
V2 = {
    "v2-largefov": "deeplabv2_mobilenetv2,largefov",
    "v2-aspp-s": "deeplabv2_mobilenetv2,aspp-s",
    "v2-aspp-l": "deeplabv2_mobilenetv2,aspp-l",
}
HEADS = V3PLUS | V2
OUTPUT_STRIDES = (16, 8)

# "own": what `evaluate.py --crf exact` takes, the spec's settings or `crf.dense_crf.MILD`.
V1_CRF = CrfParams(4, 49, 5, 3, 3, iterations=10)  # DeepLab v1, as calibration/tune_crf.py has it
CRFS = ("off", "own", "v1")


@dataclass(frozen=True)
class Row:
    """A model and how it is read; `strategy` is a key of `STRATEGIES`, `crf` one of `CRFS`."""

    model: str
    output_stride: int
    strategy: str = "once"
    crf: str = "off"

    @property
    def stem(self) -> str:
        """The name of its JSON file."""
        refined = "" if self.crf == "off" else f".crf-{self.crf}"
        return f"{self.model}.os{self.output_stride}.{self.strategy}{refined}"


REFERENCE_ROWS = [
    *(Row(REFERENCE, stride, name) for stride in OUTPUT_STRIDES for name in STRATEGIES),
    Row(REFERENCE, 16, "once", "own"),
    Row(REFERENCE, 8, "ms-flip", "own"),
]
TABLE5_ROWS = [
    Row(head, stride, name) for head in V3PLUS for stride in OUTPUT_STRIDES for name in STRATEGIES
]
V2_ROWS = [Row(head, stride, crf=crf) for head in V2 for stride in OUTPUT_STRIDES for crf in CRFS]
ROWS = [*REFERENCE_ROWS, *TABLE5_ROWS, *V2_ROWS]


@dataclass(frozen=True)
class Record:
    """A measured row: the checkpoint that was read, what it cost, and its scores in percent.

    `trunk_sha256` and `training` (flags of `train/fit.py`) tell where a head comes from; both are
    empty for the reference, whose card does. `images` are scored of `images_in_split`.
    """

    row: Row
    sha256: str
    trunk_sha256: str
    training: dict[str, str]
    data: str
    split: str
    images_in_split: int
    crf: CrfParams | None
    cost: Cost
    scores: Summary

    def write(self, folder: Path) -> None:
        """Keep it in `folder`."""
        text = json.dumps(as_json(self), indent=1) + "\n"
        write_text(folder / f"{self.row.stem}.json", text)

    @staticmethod
    def read(path: Path) -> Record:
        """What `write` wrote; anything else raises `Refused`."""
        try:
            data: dict[str, Any] = json.loads(path.read_text())
            crf = data["crf"]
            parsed = {
                "row": Row(**data["row"]),
                "crf": crf and CrfParams(**crf),
                "cost": Cost(**{name: immutable(value) for name, value in data["cost"].items()}),
                "scores": Summary(**data["scores"]),
            }
            return Record(**data | parsed)
        except (OSError, *MALFORMED) as error:
            raise Refused(
                f"{path} is no result of this version ({error!r}): remove it and measure it again "
                "with python train/results.py --measure --data SPEC"
            ) from error


def immutable(value: Any) -> Any:
    """JSON's lists as the tuples that they were."""
    return tuple(value) if isinstance(value, list) else value


def read_records(folder: Path) -> dict[Row, Record]:
    """Every row that has been measured, in the page's order."""
    paths = {row: folder / f"{row.stem}.json" for row in ROWS}
    return {row: Record.read(path) for row, path in paths.items() if path.is_file()}
