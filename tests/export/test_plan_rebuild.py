"""`--bundle`: a device builds the plans of a bundle anew, and nothing else of it changes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from engines.bundle import Bundle, writing_bundle
from engines.manifest import Manifest
from export.build_engine import Options, main
from export.calibrated import Calibrated
from export.graphs import add_graph, add_int8
from export.half import to_half
from tests.export.fake_tensorrt import FakeTensorRt
from tests.export.miniature import SPEC, miniature, ranges_of

PARTS = ["plan", "sidecar", "plan-source"]


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle without plans, beside a TensorRT 10.13."""
    monkeypatch.setitem(sys.modules, "tensorrt", FakeTensorRt("10.13.3.9"))
    with writing_bundle(tmp_path / "a bundle's $(name)") as writer:
        graph = miniature()
        add_graph(writer, "fp32.onnx", graph, precision="fp32")
        add_graph(writer, "fp16.onnx", to_half(graph), precision="fp16")
        add_int8(writer, graph, Calibrated(ranges_of(graph)))
        provenance = {"golden_agreement": {"fp16": 0.99}}
        writer.finish(Manifest(SPEC, "int8", (), provenance))
    return tmp_path / "a bundle's $(name)"


def kinds(root: Path) -> list[str]:
    files = Bundle.open(root).manifest.files
    return [file.kind for file in files if file.kind in PARTS]


def test_a_rebuild_replaces_its_plan_and_keeps_all_else(bundle: Path, tmp_path: Path) -> None:
    before = Bundle.open(bundle).manifest
    command = ["--int8", "--bundle", str(bundle), "--target", "tensorrt"]
    assert main([*command, "--json", str(tmp_path / "o.json")]) == 0
    row = json.loads((tmp_path / "o.json").read_text())["engines"][0]
    assert row["built"]
    assert len(row["preflight"]) == 5
    assert kinds(bundle) == ["plan", "sidecar"]
    assert main([*command, "--batch", "1:2:4", "--no-preflight"]) == 0
    assert sorted(kinds(bundle)) == sorted(PARTS)
    assert main([*command, "--no-preflight"]) == 0
    assert kinds(bundle) == ["plan", "sidecar"]
    after = Bundle.open(bundle).manifest
    assert set(before.files) < set(after.files)
    assert (after.provenance, after.precision) == (before.provenance, "int8")


def test_plans_of_another_precision_stay(bundle: Path) -> None:
    command = ["--bundle", str(bundle), "--target", "tensorrt", "--no-preflight"]
    assert main(["--fp16", *command]) == main(["--int8", *command]) == 0
    opened = Bundle.open(bundle)
    assert opened.plan("tensorrt", "fp16")
    assert opened.plan("tensorrt", "int8")


def test_a_build_that_fails_leaves_the_bundle_as_it_was(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--fp16", "--bundle", str(bundle), "--target", "tensorrt"]
    assert main(command) == 0
    before = Bundle.open(bundle).manifest
    memory = FakeTensorRt(fails=lambda graph: ("OutOfMemory",))
    monkeypatch.setitem(sys.modules, "tensorrt", memory)
    assert main(command) == 6
    assert "--workspace-mb" in capsys.readouterr().err
    assert Bundle.open(bundle).manifest == before


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--input-size", "64x64"], 2, "33x49"),
        (["--data", "folder:x"], 2, "--data"),
        (["--out", "x"], 2, "--out"),
        (["--exclude", "stem/Conv"], 2, "--exclude"),
        (["--onnx", "x.onnx"], 2, "one of"),
        (["--mixed"], 2, "no mixed s8 onnx: build it from its checkpoint or ONNX file with --data"),
        (["--timing-cache", "t", "--target", "tensorrt-rtx"], 2, "--timing-cache"),
    ],
)
def test_wrong_turns_end_in_one_sentence(
    bundle: Path, words: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--bundle", str(bundle), "--target", "tensorrt", *words]) == code
    assert said in capsys.readouterr().err.splitlines()[-1]
    assert kinds(bundle) == []


@pytest.mark.parametrize(
    ("flag", "text"),
    [
        ("--batch", "2:2:4"), ("--batch", "1:8:4"), ("--batch", "many"), ("--batch", "0"),
        ("--batch", "1:2"), ("--input-size", "480"), ("--input-size", "16x16"),
        ("--input-size", "99x99:88x88:99x99"),
        ("--compute-capability", "sm89"), ("--optimisation-level", "6"),
    ],
)  # fmt: skip
def test_a_malformed_value_is_a_usage_error(
    flag: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([flag, text])
    assert flag in capsys.readouterr().err


def test_one_number_is_a_batch_from_one_to_it() -> None:
    from export.build_engine import parse

    options = parse(["--batch", "8", "--input-size", "90x120:360x480:720x960"])
    assert options.batch == (1, 8, 8)
    assert options.input_size == ((90, 120), (360, 480), (720, 960))
    assert parse([]) == Options()


def test_a_device_needs_neither_torch_nor_onnx(bundle: Path) -> None:
    program = (
        "import sys\n"
        "sys.modules.update(torch=None, onnx=None)\n"
        "import importlib.util as util\n"
        "found = util.find_spec\n"
        "util.find_spec = lambda name: None if name == 'onnx' else found(name)\n"
        "from tests.export.fake_tensorrt import FakeTensorRt\n"
        "sys.modules['tensorrt'] = FakeTensorRt()\n"
        "from export.build_engine import main\n"
        "raise SystemExit(main(sys.argv[1:]))\n"
    )
    command = [sys.executable, "-c", program, "--int8", "--bundle", str(bundle)]
    command += ["--target", "tensorrt"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "no pre-flight" in result.stderr
    assert kinds(bundle) == ["plan", "sidecar"]
    for more in ("--preflight", "--batch=8"):
        result = subprocess.run([*command, more], capture_output=True, text=True, check=False)
        assert result.returncode == 4
        assert "pip install onnx" in result.stderr
