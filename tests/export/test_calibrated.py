"""What a calibration leaves on disk: written, read back, and refused where it does not belong."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from calibration.fidelity import Fidelity
from calibration.mixed import MixedSearch
from calibration.mixing.trials import Point
from calibration.sensitivity import LayerError
from engines.failures import Refused
from engines.input_statistics import input_statistics
from engines.preprocess import VERSION
from engines.ranges import Ranges, RangesKey
from engines.spec import ModelSpec
from export.calibrated import Calibrated, Choice, beside, kind_of, load

SPEC = ModelSpec(
    "net", "deeplabv3plus_mobilenetv2", ("a",), ((0, 0, 0),), (32, 32), (0.0,) * 3, (1.0,) * 3
)
KEY = RangesKey("weights", SPEC.fingerprint(), VERSION, "frames", "mse+bias")


@pytest.fixture
def found() -> Calibrated:
    """One of everything."""
    ranges = Ranges(
        KEY, 100, {"a": (0.0, 1.5)}, {"numpy": "2"}, {}, {"u8": {"a": [0.5]}}, {"a": 0.1}
    )
    other = replace(ranges, key=replace(KEY, method="minmax"), biases={})
    point = Point("int8", {}, 0.25, 20.0, Fidelity(97.0, 99.0, 20.0, 68.0))
    search = MixedSearch(
        flavour="u8", unit="ms", judged_by="labels", frames=4, max_drop=0.3, int8=point,
        whole=replace(point, kind="float", drop=0.0, cost=60.0),
        tried=[point, replace(point, kind="mixed", kept={"a": "noisy"})], front=[point],
        layers=[LayerError("a", "depthwise", 2, 30.0, 20.0, 0.1)], machine={"cpu": "x", "cores": 2},
    )  # fmt: skip
    frames = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    choice = Choice("frames", "held out", {"mse+bias": {"u8": {"miou": 97.0}}})
    return Calibrated(ranges, (other,), choice, input_statistics(frames), {"u8": search})


def test_what_is_saved_is_what_loads(found: Calibrated, tmp_path: Path) -> None:
    found.save(tmp_path / "net.safetensors")
    path, folder = beside(tmp_path / "net.safetensors")
    assert load(Ranges.load(path), folder, SPEC) == found


def test_saving_again_leaves_nothing_of_before(found: Calibrated, tmp_path: Path) -> None:
    found.save(tmp_path / "net.safetensors")
    Calibrated(found.ranges).save(tmp_path / "net.safetensors")
    path, folder = beside(tmp_path / "net.safetensors")
    assert load(Ranges.load(path), folder, SPEC) == Calibrated(found.ranges)
    assert not list(folder.iterdir())


def test_every_file_has_its_kind(found: Calibrated) -> None:
    kinds = {name: kind_of(name) for name in found.files()}
    assert kinds == {
        "tries/minmax.json": "try",
        "choice.json": "choice",
        "input.json": "calibration-input",
        "mixed.json": "mixed",
    }


def test_a_checkpoint_may_come_with_ranges_alone(found: Calibrated, tmp_path: Path) -> None:
    assert load(found.ranges, tmp_path / "nothing", SPEC) == Calibrated(found.ranges)


@pytest.mark.parametrize("key", [replace(KEY, model="other"), replace(KEY, frames="other")])
def test_files_of_other_ranges_are_refused(
    key: RangesKey, found: Calibrated, tmp_path: Path
) -> None:
    found.save(tmp_path / "net.safetensors")
    _, folder = beside(tmp_path / "net.safetensors")
    other = replace(found.ranges, key=key)
    with pytest.raises(Refused, match="other ranges than those beside it: calibrate again"):
        load(other, folder, SPEC)


def test_mixed_graphs_of_another_scheme_are_refused(found: Calibrated, tmp_path: Path) -> None:
    found.save(tmp_path / "net.safetensors")
    _, folder = beside(tmp_path / "net.safetensors")
    other = replace(found.ranges, key=replace(KEY, method="entropy"))
    with pytest.raises(Refused, match=r"mixed\.json belongs to other ranges"):
        load(other, folder, SPEC)


@pytest.mark.parametrize("name", ["choice.json", "mixed.json", "input.json", "tries/minmax.json"])
@pytest.mark.parametrize("content", ["", "[]", '{"a": 1}', "{"])
def test_damaged_files_are_refused(
    name: str, content: str, found: Calibrated, tmp_path: Path
) -> None:
    found.save(tmp_path / "net.safetensors")
    path, folder = beside(tmp_path / "net.safetensors")
    (folder / name).write_text(content)
    with pytest.raises(Refused):
        load(Ranges.load(path), folder, SPEC)


def test_a_damaged_search_is_refused(found: Calibrated, tmp_path: Path) -> None:
    found.save(tmp_path / "net.safetensors")
    path, folder = beside(tmp_path / "net.safetensors")
    data = json.loads((folder / "mixed.json").read_text())
    del data["u8"]["front"]
    (folder / "mixed.json").write_text(json.dumps(data))
    with pytest.raises(Refused, match="damaged"):
        load(Ranges.load(path), folder, SPEC)
