"""Everything that a build knows about INT8, and where it stands on disk.

Beside a checkpoint it is `<model>.ranges.json` and the folder `<model>.calibration/`; in a bundle
it is `ranges.json` and the same files, so that a bundle that is built again is its own cache:

    tries/<scheme>.json   the ranges of each scheme that was tried and not chosen
    choice.json           how faithful each scheme was to FP32 on the held-out frames
    input.json            what the calibration frames look like (runtime/stream.py --drift)
    mixed.json            which convolutions may stay in float, with what that brings and costs
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engines.atomic import replacing_folder
from engines.failures import MALFORMED, Refused
from engines.input_statistics import InputStatistics
from engines.preprocess import VERSION
from engines.ranges import Ranges, RangesKey
from engines.spec import ModelSpec

if TYPE_CHECKING:
    from calibration.mixed import MixedSearch

CHOICE, INPUT, MIXED, TRIES = "choice.json", "input.json", "mixed.json", "tries"
KINDS = {CHOICE: "choice", INPUT: "calibration-input", MIXED: "mixed"}


@dataclass(frozen=True)
class Choice:
    """Why a scheme was chosen: scheme -> flavour -> fidelity, the best first.

    `frames` and `held_out` are digests of the frames that were observed, and judged on.
    """

    frames: str
    held_out: str
    scores: dict[str, dict[str, dict[str, float | None]]]


@dataclass(frozen=True)
class Calibrated:
    """The chosen ranges, and what else the calibration found out; searches by flavour."""

    ranges: Ranges
    tries: tuple[Ranges, ...] = ()
    choice: Choice | None = None
    light: InputStatistics | None = None
    mixed: dict[str, MixedSearch] = field(default_factory=dict)

    def files(self) -> dict[str, str]:
        """Relative name -> content of everything but the ranges."""
        texts = {f"{TRIES}/{ranges.key.method}.json": ranges.text() for ranges in self.tries}
        if self.choice is not None:
            texts[CHOICE] = _text(dataclasses.asdict(self.choice))
        if self.light is not None:
            texts[INPUT] = _text(self.light.to_json())
        if self.mixed:
            searches = {flavour: found.to_json() for flavour, found in self.mixed.items()}
            texts[MIXED] = _text({"ranges": dataclasses.asdict(self.ranges.key)} | searches)
        return texts

    def save(self, checkpoint: Path) -> None:
        """Write beside a checkpoint; ranges and folder each appear as a whole."""
        ranges, folder = beside(checkpoint)
        self.ranges.save(ranges)
        with replacing_folder(folder) as fresh:
            for name, content in self.files().items():
                (fresh / name).parent.mkdir(exist_ok=True)
                (fresh / name).write_text(content)


def beside(checkpoint: Path) -> tuple[Path, Path]:
    """Where the ranges and the folder that ship with a checkpoint stand."""
    return checkpoint.with_suffix(".ranges.json"), checkpoint.with_suffix(".calibration")


def kind_of(name: str) -> str:
    """What a file of `Calibrated.files` is in a bundle's manifest."""
    return KINDS.get(name, "try")


def load(ranges: Ranges, folder: Path, spec: ModelSpec) -> Calibrated:
    """What stands in `folder` beside these ranges; what belongs to others raises `Refused`."""
    key = ranges.key
    wanted = RangesKey(key.model, spec.fingerprint(), VERSION, key.frames, method="")
    tries = [Ranges.load(path) for path in sorted((folder / TRIES).glob("*.json"))]
    strangers = [item.key.method for item in tries if item.misfit(wanted)]
    light, choice = folder / INPUT, _json(folder / CHOICE)
    mixed = _json(folder / MIXED)
    if choice and choice.get("frames") != key.frames:
        strangers.append(CHOICE)
    if mixed and mixed.pop("ranges", None) != dataclasses.asdict(key):
        strangers.append(MIXED)
    if strangers:
        raise Refused(
            f"{folder}: {strangers[0]} belongs to other ranges than those beside it: "
            "calibrate again with --data SPEC"
        )
    try:
        return Calibrated(
            ranges,
            tuple(tries),
            Choice(**choice) if choice else None,
            InputStatistics.from_json(light.read_bytes()) if light.is_file() else None,
            _searches(mixed or {}),
        )
    except MALFORMED as error:
        raise Refused(f"{folder} is damaged ({error}): calibrate again with --data SPEC") from error


def _searches(data: dict[str, Any]) -> dict[str, MixedSearch]:
    if not data:
        return {}
    from calibration.mixed import search_from_json

    return {flavour: search_from_json(found) for flavour, found in data.items()}


def _json(path: Path) -> dict[str, Any] | None:
    try:
        data = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, *MALFORMED) as error:
        raise Refused(f"{path} is not valid ({error}): calibrate again with --data SPEC") from error
    if not isinstance(data, dict) or not data:
        raise Refused(f"{path} holds no calibration: calibrate again with --data SPEC")
    return data


def _text(data: Any) -> str:
    return json.dumps(data, indent=1, sort_keys=True) + "\n"
