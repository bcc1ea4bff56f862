"""The command: a bundle made from an ONNX file, which needs no torch; its JSON, codes and words."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto

from calibration.graphs.quantized import quantized
from calibration.ranges.observe import observe
from engines.bundle import Bundle, Golden, writing_bundle
from engines.labels import upsample_argmax
from engines.manifest import Manifest
from engines.onnxruntime_session import OnnxRuntimeSession
from engines.ranges import Ranges, RangesKey
from export.graphs import add_graph
from export.half import to_half
from export.verification.recipe import remedy
from export.verification.verdict import Finding
from export.verify import main
from tests.export.faults import other_rate, scaled_weights, with_fault
from tests.export.miniature import ATROUS, POINT, SIZE, SPEC, miniature

KEYS = {"name", "kind", "rate", "precision", "sqnr_db", "cosine", "max_abs"}


def write(root: Path, graph: ModelProto, int8: bool = True) -> Path:
    """The miniature's bundle."""
    coarse = np.random.default_rng(3).integers(0, 256, (3, 5, 7, 3), np.uint8)
    frames = list(coarse.repeat(7, axis=1).repeat(7, axis=2)[:, : SIZE[0], : SIZE[1]])
    with writing_bundle(root) as writer:
        add_graph(writer, "fp32.onnx", graph, precision="fp32")
        add_graph(writer, "fp16.onnx", to_half(graph), precision="fp16")
        if int8:
            key = RangesKey("m", SPEC.fingerprint(), "1", "f", "minmax")
            ranges = Ranges(key, len(frames), observe(graph, frames))
            ranges.save(writer.path("ranges.json"))
            writer.add("ranges.json", "ranges")
            u8, s8 = quantized(graph, ranges, "u8"), to_half(quantized(graph, ranges, "s8"))
            add_graph(writer, "int8_u8.onnx", u8, precision="int8", flavour="u8")
            add_graph(writer, "int8_s8.onnx", s8, precision="int8", flavour="s8")
            add_graph(writer, "mixed_s8.onnx", s8, precision="mixed", flavour="s8")
        with OnnxRuntimeSession(graph.SerializeToString(), SPEC, "fp32") as session:
            logits = [session.run(frame[None])[0] for frame in frames]
        masks = [upsample_argmax(item, SIZE) for item in logits]
        writer.add_golden([Golden(f, m) for f, m in zip(frames, masks, strict=True)])
        provenance = {"source": "miniature.onnx"}
        writer.finish(Manifest(SPEC, "int8" if int8 else "fp16", (), provenance))
    return root


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("bundles") / "miniature", miniature())


def run(bundle: Path, tmp_path: Path, *flags: str) -> tuple[int, dict[str, Any]]:
    """The exit code and the JSON."""
    file = tmp_path / "v.json"
    code = main(["--bundle", str(bundle), "--json", str(file), *flags])
    return code, json.loads(file.read_text())


def test_a_sound_bundle_passes_and_says_what_was_compared(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = run(bundle, tmp_path, "--html", str(tmp_path / "v.html"))
    assert code == 0, found["findings"]
    assert found["passed"]
    assert found["reference"] == "ONNX FP32"
    assert found["frames"] == 3
    assert all(row.keys() >= KEYS for row in found["layers"])
    assert {row["precision"] for row in found["layers"]} == {"fp16", "int8_u8", "int8_s8"}
    assert found["label_agreement"].keys() == {"fp32", "fp16", "int8_u8", "int8_s8", "mixed_s8"}
    assert found["label_agreement"]["fp32"] == 1
    assert found["copies"] == {"mixed_s8": "int8_s8"}
    assert 0 < found["oracle_max_abs"] < 1e-5
    assert {row["name"] for row in found["oracle"]} == {ATROUS, POINT, "aspp.twin/Conv"}
    rows = {(row["precision"], row["name"]): row for row in found["layers"]}
    assert rows["int8_u8", ATROUS]["border_share"] > 0.9
    assert rows["int8_u8", ATROUS]["own_border_sqnr_db"] is not None
    assert rows["int8_u8", ATROUS]["own_sqnr_db"] > rows["int8_u8", ATROUS]["sqnr_db"] - 1
    assert all(row["repeat_max_abs"] == 0 for row in found["engines"])
    said = capsys.readouterr().out
    assert "made from an ONNX file" in said
    assert "Every layer does what the network does" in said
    assert "ONNX FP32" in (tmp_path / "v.html").read_text()


@pytest.mark.parametrize(
    ("file", "precision", "layer", "fault"),
    [
        ("int8_u8.onnx", "int8_u8", ATROUS, other_rate(ATROUS, 5)),
        ("int8_s8.onnx", "int8_s8", POINT, scaled_weights(POINT, 1.05)),
        ("fp16.onnx", "fp16", "down/Conv", scaled_weights("down/Conv", 1.05)),
        ("int8_u8.onnx", "int8_u8", "classifier/Conv", scaled_weights("classifier/Conv", 1.05)),
    ],
    ids=["rate", "pointwise", "early", "last"],
)
def test_a_wrong_layer_is_named_with_the_command(
    bundle: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    file: str,
    precision: str,
    layer: str,
    fault: Any,
) -> None:
    code, found = run(with_fault(bundle, tmp_path / "broken", [file], fault), tmp_path)
    assert code == 3
    assert (found["first"]["precision"], found["first"]["layer"]) == (precision, layer)
    said = capsys.readouterr().out
    assert f"{layer} is the first layer that breaks" in said
    wanted = f"--onnx miniature.onnx --exclude {layer}" if precision != "fp16" else "--onnx"
    assert wanted in said


@pytest.mark.parametrize(
    ("precision", "layer", "flags"),
    [
        ("int8_s8", POINT, f"--exclude stem/Conv --exclude {POINT} --out"),
        ("int8_s8", "stem/Conv", "miniature.onnx --exclude stem/Conv --out"),
        ("fp16", POINT, "miniature.onnx --exclude stem/Conv --out"),
    ],
)
def test_the_command_keeps_what_the_bundle_excludes_already(
    bundle: Path, precision: str, layer: str, flags: str
) -> None:
    manifest = Manifest.load(bundle)
    provenance = manifest.provenance | {"excluded": ["stem/Conv"]}
    opened = Bundle(bundle, replace(manifest, provenance=provenance))
    assert flags in remedy(opened, Finding(precision, layer, "it breaks"))


def test_only_what_was_asked_for(bundle: Path, tmp_path: Path) -> None:
    _, found = run(bundle, tmp_path, "--precision", "fp16", "--frames", "1")
    assert {row["precision"] for row in found["layers"]} == {"fp16"}
    assert found["frames"] == 1


def test_frames_of_ones_own(bundle: Path, tmp_path: Path) -> None:
    _, found = run(bundle, tmp_path, "--data", "street:", "--frames", "2", "--precision", "fp16")
    assert (found["frames"], found["data"]) == (2, "street:")


def test_openvino_is_tapped_too(bundle: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    code, found = run(bundle, tmp_path, "--target", "openvino", "--frames", "1")
    assert code == 0, found["findings"]
    columns = {row["precision"] for row in found["layers"]}
    assert {"int8_u8 on openvino", "fp16 on openvino"} < columns
    assert "int8_s8 on openvino" not in columns
    assert found["label_agreement"]["int8_u8 on openvino"] > 0.9


@pytest.mark.tensorrt
def test_rtx_plans_are_read_without_a_gpu(bundle: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    flags = ("--target", "tensorrt-rtx", "--precision", "fp16,int8", "--frames", "1")
    code, found = run(bundle, tmp_path, *flags)
    assert code == 0, found["findings"]
    rows = {row["precision"]: row for row in found["fused"]}
    assert rows.keys() == {"fp16", "int8_s8"}
    assert rows["fp16"]["convolutions"] == {"FP16": 6}
    assert rows["int8_s8"]["convolutions"]["INT8"] >= 3
    for row in rows.values():
        assert row["repeats"]
        assert not row["fallbacks"]
        assert not row["untold"]


def test_limits_can_be_set(bundle: Path, tmp_path: Path) -> None:
    code, found = run(bundle, tmp_path, "--precision", "int8", "--min-sqnr", "149")
    assert code == 3
    assert "the limit is 149" in found["first"]["reason"]


@pytest.mark.parametrize(
    ("flags", "code", "sentence"),
    [
        (["--bundle", "nowhere"], 6, "no bundle at nowhere"),
        (["--precision", "int8"], 2, "this bundle has no int8 graph, only fp16, fp32"),
        (["--data", "camvid"], 6, "unknown dataset 'camvid'"),
        (["--data", "images:nowhere"], 6, "nowhere"),
        (["--frames", "0"], 2, "--frames: at least 1"),
        (["--min-agreement", "90"], 2, "a share from 0 to 1"),
        (["--html", "."], 2, "is a folder"),
        (["--target", "tensorrt"], 6, "has no plan for tensorrt: build one with"),
    ],
)
def test_bad_input_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], code: int, sentence: str
) -> None:
    bare = write(tmp_path / "bare", miniature(), int8=False)
    command = flags if "--bundle" in flags else ["--bundle", str(bare), *flags]
    assert main(command) == code
    error = capsys.readouterr().err
    assert error.splitlines()[-1].startswith("error: ")
    assert sentence in error


def test_a_flipped_byte_is_not_measured(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = with_fault(bundle, tmp_path / "copy", [], lambda model: None)
    data = bytearray((copy / "fp16.onnx").read_bytes())
    data[100] ^= 1
    (copy / "fp16.onnx").write_bytes(data)
    assert main(["--bundle", str(copy)]) == 6
    assert hashlib.sha256(data).hexdigest()[:12] in capsys.readouterr().err
