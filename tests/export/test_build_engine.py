"""The whole build on a small network: what a user types, what comes out, and every wrong turn."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engines.bundle import Bundle
from engines.ranges import Ranges
from engines.session import open_session
from engines.spec import ModelSpec

pytest.importorskip("torch")

from export.build_engine import main

FRAMES = 16


@pytest.fixture(scope="module")
def folder(spec: ModelSpec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `folder:` dataset of frames with some structure."""
    root = tmp_path_factory.mktemp("frames")
    rng = np.random.default_rng(0)
    for kind in ("images", "labels"):
        (root / kind).mkdir()
    for index in range(FRAMES):
        coarse = Image.fromarray(rng.integers(0, 256, (8, 12, 3), np.uint8))
        coarse.resize((96, 64), Image.Resampling.BICUBIC).save(root / "images" / f"{index}.png")
        Image.fromarray(np.zeros((64, 96), np.uint8)).save(root / "labels" / f"{index}.png")
    (root / "classes.json").write_text(json.dumps({"classes": list(spec.classes)}))
    return root


@pytest.fixture(scope="module")
def built(checkpoint: Path, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The INT8 bundle of the small network."""
    out = tmp_path_factory.mktemp("out") / "bundle"
    command = ["--int8", "--checkpoint", str(checkpoint), "--data", f"folder:{folder}"]
    command += ["--scheme", "percentile"]
    assert main([*command, "--out", str(out), "--json", str(out.parent / "out.json")]) == 0
    return out


def test_json_tells_what_was_built_and_how_near_it_is(built: Path) -> None:
    result = json.loads((built.parent / "out.json").read_text())
    assert result["precision"] == "int8"
    assert result["parity"]["onnx_max_abs"] <= 1e-3
    assert result["parity"]["label_agreement"] >= 0.9999
    engines = {row["target"]: row for row in result["engines"]}
    assert engines["cpu"]["built"]
    assert engines["cpu"]["file"] == "int8_u8.onnx"
    if importlib.util.find_spec("openvino"):
        assert engines["openvino"]["file"] == "int8_u8_openvino.onnx"
    else:
        assert "pip install" in engines["openvino"]["reason"]
    for row in engines.values():
        assert row["built"] or row["reason"]


def test_every_precision_runs_and_says_nearly_the_same(built: Path, spec: ModelSpec) -> None:
    bundle = Bundle.open(built)
    golden = bundle.golden()
    assert len(golden) == 4
    for precision, least in (("fp32", 1.0), ("fp16", 0.98), ("int8", 0.8)):
        with open_session(bundle, precision) as session:
            logits = session.run(golden[0].frame[None])
        assert logits.shape == (1, 3, *spec.logits_size)
        coarse = golden[0].labels[2::4, 2::4]
        assert np.mean(logits[0].argmax(0) == coarse) >= least - 0.05


@pytest.mark.tensorrt
def test_the_rtx_plan_has_its_convolutions_in_int8(built: Path) -> None:
    bundle = Bundle.open(built)
    plan = bundle.plan("tensorrt-rtx", "int8")
    sidecar = bundle.manifest.find("sidecar", target="tensorrt-rtx")
    assert plan is not None
    assert sidecar is not None
    facts = json.loads(bundle.read(sidecar))
    assert facts["plan"]["sha256"] == plan.sha256
    assert facts["layers"]["INT8"] > 20


def test_nothing_in_the_bundle_names_this_machine(built: Path) -> None:
    for file in built.rglob("*"):
        if file.is_file() and file.suffix != ".plan":
            assert str(Path.home()).encode() not in file.read_bytes(), file
            assert str(built.parent).encode() not in file.read_bytes(), file


def test_a_second_build_takes_the_ranges_from_the_first(
    built: Path, checkpoint: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (built / "ranges.json").read_bytes()
    command = ["--int8", "--target", "cpu", "--checkpoint", str(checkpoint), "--out", str(built)]
    assert main([*command, "--data", f"folder:{folder}", "--scheme", "percentile"]) == 0
    assert "taken from there" in capsys.readouterr().err
    assert (built / "ranges.json").read_bytes() == before


@pytest.fixture
def graph(built: Path, spec: ModelSpec, tmp_path: Path) -> Path:
    """The small network as an ONNX file with its spec and ranges beside it."""
    path = tmp_path / "mine.onnx"
    path.write_bytes((built / "fp32.onnx").read_bytes())
    path.with_suffix(".json").write_text(json.dumps(spec.to_json()))
    ranges = Ranges.load(built / "ranges.json")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    key = replace(ranges.key, model=digest)
    replace(ranges, key=key).save(path.with_suffix(".ranges.json"))
    return path


def test_an_onnx_file_with_its_ranges_builds_without_data(graph: Path, tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    command = ["--int8", "--onnx", str(graph), "--target", "cpu", "--out", str(out)]
    assert main([*command, "--json", str(tmp_path / "o.json")]) == 0
    assert json.loads((tmp_path / "o.json").read_text())["parity"] is None
    assert Bundle.open(out).manifest.precision == "int8"


def test_ranges_of_other_weights_are_refused(
    graph: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = graph.with_suffix(".ranges.json")
    ranges = Ranges.load(path)
    replace(ranges, key=replace(ranges.key, model="of other weights")).save(path)
    assert main(["--int8", "--onnx", str(graph), "--out", str(tmp_path / "b")]) == 6
    assert "the checkpoint has changed" in capsys.readouterr().err


def wrong(
    checkpoint: Path, folder: Path, spec: ModelSpec, tmp_path: Path
) -> dict[str, tuple[list[str], int, str]]:
    """Command lines that must fail: words, exit code, what the sentence must say."""
    corrupt = tmp_path / "corrupt.safetensors"
    corrupt.write_bytes(checkpoint.read_bytes()[:1000])
    corrupt.with_suffix(".json").write_text(json.dumps(spec.to_json()))
    return {
        "int8 without data": (["--int8", "--checkpoint", str(checkpoint)], 2, "--data"),
        "mixed without data": (["--mixed", "--checkpoint", str(checkpoint)], 2, "--data"),
        "unknown scheme": (["--scheme", "percentil"], 2, "percentile"),
        "too few frames to choose": (
            ["--int8", "--checkpoint", str(checkpoint), "--data", f"folder:{folder}"],
            6,
            "12 frames",
        ),
        "negative limit": (["--mixed", "--max-drop", "-1"], 2, "--max-drop"),
        "unknown model": (["--model", "camvid-mobilnetv2"], 2, "camvid"),
        "no such file": (["--checkpoint", str(tmp_path / "no.safetensors")], 6, "no.safetensors"),
        "corrupt": (["--checkpoint", str(corrupt)], 6, "corrupt.safetensors"),
        "two sources": (["--model", "a", "--onnx", "b.onnx"], 2, "one of"),
        "dataset": (
            ["--int8", "--checkpoint", str(checkpoint), "--data", f"camvid:{tmp_path}/x"],
            6,
            "CamVid",
        ),
        "kind of dataset": (
            ["--int8", "--checkpoint", str(checkpoint), "--data", "imagenet:x"],
            6,
            "imagenet",
        ),
        "unavailable target": (
            ["--fp16", "--checkpoint", str(checkpoint), "--target", "tensorrt"],
            4,
            "pip install",
        ),
    }


CASES = [
    "int8 without data", "mixed without data", "unknown scheme", "too few frames to choose",
    "negative limit", "unknown model", "no such file", "corrupt", "two sources", "dataset",
    "kind of dataset", "unavailable target",
]  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_wrong_turns_end_in_one_sentence_and_leave_nothing(
    case: str,
    checkpoint: Path,
    folder: Path,
    spec: ModelSpec,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    words, code, said = wrong(checkpoint, folder, spec, tmp_path)[case]
    out = tmp_path / "bundle"
    assert main([*words, "--out", str(out)]) == code
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: ")
    assert said in last
    assert not out.exists()
    assert not list(tmp_path.glob(".bundle*"))


def test_a_layer_that_is_misspelled_is_told_before_calibration(
    graph: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--int8", "--onnx", str(graph), "--data", f"folder:{folder}", "--scheme", "minmax"]
    command += ["--exclude", "backbone.conv_stm/Conv", "--out", str(tmp_path / "b")]
    assert main(command) == 6
    said = capsys.readouterr().err
    assert "no such layer; did you mean backbone.conv_stem/Conv?" in said
    assert "calibrating" not in said
