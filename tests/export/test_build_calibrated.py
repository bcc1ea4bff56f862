"""Builds that choose for themselves: schemes on held-out frames, and which layers stay in float."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engines.bundle import Bundle

pytest.importorskip("torch")

from calibration.scheme import METHODS
from export.build_engine import main

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures without labels."""
    root = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    for index in range(24):
        coarse = Image.fromarray(random.integers(0, 256, (8, 12, 3), np.uint8))
        coarse.resize((96, 64), Image.Resampling.BICUBIC).save(root / f"{index:02}.png")
    return root


@pytest.fixture(scope="module")
def command(checkpoint: Path, images: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A mixed build on the pictures; a random network changes many masks, hence the limit."""
    out = tmp_path_factory.mktemp("out") / "bundle"
    return [
        "--mixed", "--max-drop", "60", "--checkpoint", str(checkpoint), "--out", str(out),
        "--data", f"images:{images}", "--target", "cpu", "--save-ranges",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def built(command: list[str]) -> Path:
    """The bundle of that command."""
    assert main(command) == 0
    return Path(command[command.index("--out") + 1])


def test_every_scheme_is_kept_and_the_best_one_used(built: Path) -> None:
    bundle = Bundle.open(built)
    calibration = bundle.manifest.provenance["calibration"]
    tried = [calibration["method"], *calibration["tried"]]
    assert {*METHODS} < {*tried}
    assert len(tried) == len(METHODS) + 3  # the best method with equalisation, bias, both
    tries = [file for file in bundle.manifest.files if file.kind == "try"]
    assert {file.name for file in tries} == {f"tries/{s}.json" for s in calibration["tried"]}
    scores = json.loads((built / "choice.json").read_text())["scores"]
    means = {s: np.mean([f["miou"] for f in by.values()]) for s, by in scores.items()}
    assert max(means, key=lambda scheme: float(means[scheme])) == calibration["method"]


def test_a_mixed_engine_is_built_and_says_what_stays_in_float(built: Path) -> None:
    bundle = Bundle.open(built)
    mixed = bundle.manifest.provenance["mixed"]
    for flavour in ("u8", "s8"):
        assert mixed[flavour]["judged_by"] == "FP32's masks"
        assert mixed[flavour]["drop"] <= 60
        assert bundle.manifest.find("onnx", precision="mixed", flavour=flavour, target=None)
        picture = bundle.manifest.find("mixed-plot", flavour=flavour)
        assert picture is not None
        assert bundle.read(picture).startswith(b"\x89PNG")
    assert mixed["u8"]["unit"] == "ms"
    assert "multiply-adds" in mixed["s8"]["unit"]
    assert bundle.manifest.precision == "mixed"


def test_the_stream_can_watch_for_drift(built: Path) -> None:
    bundle = Bundle.open(built)
    assert bundle.manifest.find("calibration-input")
    for precision in ("int8", "mixed"):
        assert bundle.manifest.find("probe", precision=precision, flavour="u8")


def test_a_second_build_tries_nothing_again(
    built: Path, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path.name: path.read_bytes() for path in built.glob("*.json")}
    assert main(command) == 0
    said = capsys.readouterr().err
    assert "tried for the bundle already" in said
    assert "mixed precision for" not in said
    for name in ("ranges.json", "choice.json", "mixed.json", "input.json"):
        assert (built / name).read_bytes() == before[name]


def test_what_was_found_ships_beside_the_checkpoint_and_builds_without_data(
    built: Path, checkpoint: Path, tmp_path: Path
) -> None:
    out = tmp_path / "bundle"
    flags = ["--mixed", "--max-drop", "60", "--checkpoint", str(checkpoint), "--target", "cpu"]
    assert main([*flags, "--out", str(out)]) == 0
    for name in ("int8_u8.onnx", "int8_s8.onnx", "mixed_u8.onnx", "choice.json", "input.json"):
        assert (out / name).read_bytes() == (built / name).read_bytes()


def test_a_limit_that_nothing_reaches_fails_and_builds_nothing(
    built: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--mixed", "--max-drop", "0", "--checkpoint", str(checkpoint), "--target", "cpu"]
    assert main([*flags, "--out", str(tmp_path / "bundle")]) == 3
    assert "raise --max-drop" in capsys.readouterr().err
    assert not (tmp_path / "bundle").exists()
    assert built.exists()
