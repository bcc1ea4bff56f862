"""OpenVINO's graph and its rows in the report."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto
from PIL import Image

from calibration import report as script
from calibration.graphs.qdq import quantize
from calibration.ranges.observe import observe
from calibration.ranges.tally import Range
from engines.bundle import Bundle, writing_bundle
from engines.labels import upsample_argmax
from engines.manifest import Manifest
from engines.session import cpu_session
from engines.spec import ModelSpec

pytest.importorskip("openvino")

from engines.openvino_session import OpenVinoSession, compiled

Frames = list[NDArray[np.uint8]]

SCHEMA = json.loads(Path(script.__file__).with_name("report.schema.json").read_text())
# Of pixels. The kernels round differently: 99.66 % on the bundled model and CamVid's val.
AGREEMENT = 0.985


@pytest.fixture(scope="module")
def ranges(miniature: ModelProto, frames: Frames) -> dict[str, Range]:
    return observe(miniature, frames)


@pytest.fixture(scope="module")
def own(miniature: ModelProto, ranges: dict[str, Range]) -> bytes:
    """The INT8 graph that a build makes for OpenVINO."""
    return bytes(quantize(miniature, ranges, "u8", target="openvino").SerializeToString())


def kernels(graph: bytes) -> Counter[tuple[str, str]]:
    """(kind of layer, element type that it computes in) of what OpenVINO really runs."""
    found: Counter[tuple[str, str]] = Counter()
    for node in compiled(graph, "int8", 1).get_runtime_model().get_ops():
        facts = node.get_rt_info()
        found[facts["layerType"].astype(str), facts["runtimePrecision"].astype(str)] += 1
    return found


def test_its_own_graph_keeps_the_first_convolution_in_int8(
    miniature: ModelProto, ranges: dict[str, Range], own: bytes
) -> None:
    convolutions = sum(node.op_type == "Conv" for node in miniature.graph.node)
    ours = kernels(own)
    assert ours["Convolution", "u8"] + ours["Convolution", "i8"] == convolutions
    shared = kernels(quantize(miniature, ranges, "u8").SerializeToString())
    assert shared["Convolution", "f32"] == 1  # what reads bytes, for onnxruntime's sake
    assert not {kind for _, kind in ours} & {"bf16", "f16"}


def test_int8_gives_onnxruntime_s_labels(
    miniature: ModelProto,
    ranges: dict[str, Range],
    own: bytes,
    frames: Frames,
    miniature_spec: ModelSpec,
) -> None:
    shared = quantize(miniature, ranges, "u8").SerializeToString()
    graphs = (("cpu", shared), ("openvino", shared), ("openvino", own))
    masks = []
    for target, graph in graphs:
        with cpu_session(target, graph, miniature_spec, "int8", 1) as session:
            logits = [session.run(frame[None])[0] for frame in frames]
        masks.append(np.stack([upsample_argmax(x, miniature_spec.input_size) for x in logits]))
    for found in masks[1:]:
        assert np.mean(found == masks[0]) > AGREEMENT


def test_int8_says_what_its_float_layers_are_computed_in(
    own: bytes, miniature_spec: ModelSpec
) -> None:
    with OpenVinoSession(own, miniature_spec, "int8", 1) as session:
        assert session.description.endswith("1 thread, float layers in FP32)")
    with OpenVinoSession(own, miniature_spec, "mixed", 1) as session:
        assert session.arithmetic == "f32"


@pytest.fixture
def bundle(miniature: ModelProto, ranges: dict[str, Range], own: bytes, tmp_path: Path) -> Path:
    """FP32, FP16 by name, the shared INT8 graph and OpenVINO's."""
    names = ("one", "two", "three", "four", "five")
    spec = ModelSpec("miniature", "none", names, ((0, 0, 0),) * 5, (32, 48), (0.0,) * 3, (1.0,) * 3)
    float_graph = miniature.SerializeToString()
    shared = quantize(miniature, ranges, "u8").SerializeToString()
    with writing_bundle(tmp_path / "bundle") as writer:
        writer.add_bytes("fp32.onnx", float_graph, "onnx", precision="fp32")
        writer.add_bytes("fp16.onnx", float_graph, "onnx", precision="fp16")
        facts = {"precision": "int8", "flavour": "u8"}
        writer.add_bytes("int8_u8.onnx", shared, "onnx", **facts)
        writer.add_bytes("int8_u8_openvino.onnx", own, "onnx", target="openvino", **facts)
        origin = {"calibration": {"method": "minmax", "frames": 8, "digest": "ab"}}
        writer.finish(Manifest(spec, "int8", (), origin, {"onnx": "1"}))
    return tmp_path / "bundle"


@pytest.fixture
def measure(
    bundle: Path, miniature: ModelProto, miniature_spec: ModelSpec, frames: Frames, tmp_path: Path
) -> Callable[..., dict[str, Any]]:
    """Runs the report with FP32's own masks as truth; its JSON, which the schema describes."""
    data = tmp_path / "data"
    for folder in ("images", "labels"):
        (data / folder).mkdir(parents=True)
    classes = {"classes": ["one", "two", "three", "four", "five"]}
    (data / "classes.json").write_text(json.dumps(classes))
    with cpu_session("cpu", miniature.SerializeToString(), miniature_spec, "fp32", 1) as session:
        for index, frame in enumerate(frames):
            mask = upsample_argmax(session.run(frame[None])[0], miniature_spec.input_size)
            Image.fromarray(frame).save(data / f"images/{index}.png")
            Image.fromarray(mask).save(data / f"labels/{index}.png")

    def run(*flags: str) -> dict[str, Any]:
        out = tmp_path / "report.json"
        fixed = ["--bundle", str(bundle), "--data", f"folder:{data}", "--json", str(out)]
        assert script.main([*fixed, "--max-drop", "50", "--rank-frames", "0", *flags]) == 0
        result = dict(json.loads(out.read_text()))
        jsonschema.validate(result, SCHEMA)
        return result

    return run


@pytest.mark.usefixtures("with_openvino")
def test_each_graph_of_the_cpu_has_a_row_in_openvino(
    measure: Callable[..., dict[str, Any]], bundle: Path, own: bytes, tmp_path: Path
) -> None:
    page = tmp_path / "r.html"
    result = measure("--html", str(page), "--markdown", str(tmp_path / "r.md"), "--crf", "fast")
    rows = {(r["precision"], r["target"]): r for r in result["rows"] if not r["crf"]}
    assert list(rows) == [
        ("fp32", "cpu"), ("fp16", "cpu"), ("int8", "cpu"),
        ("fp32", "openvino"), ("fp16", "openvino"), ("int8", "openvino"),
    ]  # fmt: skip
    assert all(row["p50_ms"] > 0 and row["shipped"] for row in rows.values())
    assert rows["fp32", "openvino"]["agreement"] == 100
    assert rows["int8", "openvino"]["bytes"] == len(own)
    assert "FP16" in rows["fp16", "openvino"]["note"]
    assert "OpenVINO" in result["verdict"]
    assert result["skipped"] == []
    assert "openvino" in result["machine"]
    for text in (page.read_text(), (tmp_path / "r.md").read_text()):
        assert "INT8 OpenVINO" in text
    chosen, _ = Bundle.open(bundle).choose_precision("openvino")
    assert chosen in ("fp32", "fp16", "int8")


@pytest.mark.usefixtures("with_openvino")
def test_a_graph_that_openvino_does_not_accept_is_named_and_the_others_are_measured(
    measure: Callable[..., dict[str, Any]], bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = OpenVinoSession.__init__

    def picky(self: OpenVinoSession, graph: bytes, *rest: Any) -> None:
        whole(self, b"" if rest[1] == "int8" else graph, *rest)

    monkeypatch.setattr(OpenVinoSession, "__init__", picky)
    result = measure()
    (reason,) = result["skipped"]
    assert reason.startswith("int8 in OpenVINO: OpenVINO does not accept the int8 graph")
    assert [r["precision"] for r in result["rows"] if r["target"] == "openvino"] == ["fp32", "fp16"]


def test_without_openvino_nothing_is_said_of_it(measure: Callable[..., dict[str, Any]]) -> None:
    result = measure()
    assert {row["target"] for row in result["rows"]} == {"cpu"}
    assert result["skipped"] == []
