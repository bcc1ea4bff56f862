"""The report of a real quantized network: its tries, and the layer that a bad scale ruined."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper
from PIL import Image

from calibration import report as script
from calibration.graphs.quantized import quantized
from calibration.ranges.channels import channel_spans
from calibration.ranges.observe import observe
from calibration.repairs.equalise import apply_factors, find_factors
from calibration.reporting.weak_layers import float_graph
from calibration.scheme import NAIVE
from engines.bundle import Bundle, writing_bundle
from engines.labels import upsample_argmax
from engines.manifest import Manifest
from engines.onnxruntime_session import OnnxRuntimeSession
from engines.ranges import Ranges, RangesKey
from engines.spec import ModelSpec

SCHEMA = json.loads(Path(script.__file__).with_name("report.schema.json").read_text())
SIZE = (32, 48)
NAMES = ("a", "b", "c", "d", "e")
SPEC = ModelSpec(
    "miniature", "none", NAMES, tuple((40 * i, 200 - 40 * i, 90) for i in range(5)), SIZE,
    (127.5,) * 3, (127.5,) * 3,
)  # fmt: skip
RUINED = "wide/Conv"
EQUALISED = "minmax+equalise"


def taken(graph: ModelProto, frames: list[NDArray[np.uint8]], method: str) -> Ranges:
    tensors = observe(graph, frames, method)
    return Ranges(RangesKey("m", "s", "p", "f", method), len(frames), tensors)


@pytest.fixture(scope="session")
def ranges(miniature: ModelProto, frames: list[NDArray[np.uint8]]) -> dict[str, Ranges]:
    found = {method: taken(miniature, frames, method) for method in ("percentile", "minmax")}
    factors = find_factors(miniature, channel_spans(miniature, frames))
    equalised = copy.deepcopy(miniature)
    apply_factors(equalised, factors)
    whole = taken(equalised, frames, "minmax")
    key = dataclasses.replace(whole.key, method=EQUALISED)
    return found | {EQUALISED: dataclasses.replace(whole, key=key, factors=factors)}


@pytest.fixture
def make_bundle(
    miniature: ModelProto, ranges: dict[str, Ranges], tmp_path: Path
) -> Callable[..., Path]:
    """A bundle of the miniature that ships a scheme and records min-max as a try."""

    def make(
        ruin: Callable[[ModelProto], None] = lambda _: None, scheme: str = "percentile"
    ) -> Path:
        root = tmp_path / "bundle"
        with writing_bundle(root) as writer:
            whole = miniature.SerializeToString()
            writer.add_bytes("fp32.onnx", whole, "onnx", precision="fp32")
            for flavour in ("u8", "s8"):
                graph = quantized(miniature, ranges[scheme], flavour)
                if flavour == "u8":
                    ruin(graph)
                data = graph.SerializeToString()
                facts = {"precision": "int8", "flavour": flavour}
                writer.add_bytes(f"int8_{flavour}.onnx", data, "onnx", **facts)
            for method, kind in ((scheme, "ranges"), ("minmax", "try")):
                ranges[method].save(writer.path(f"tries/{method}.json"))
                writer.add(f"tries/{method}.json", kind)
            origin = {"calibration": {"method": scheme, "frames": 8, "digest": "ab"}}
            writer.finish(Manifest(SPEC, "int8", (), origin, {"onnx": "1"}))
        return root

    return make


@pytest.fixture
def data(miniature: ModelProto, frames: list[NDArray[np.uint8]], tmp_path: Path) -> str:
    """The frames with FP32's own masks as truth."""
    for folder in ("images", "labels"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    (tmp_path / "data/classes.json").write_text(json.dumps({"classes": NAMES}))
    with OnnxRuntimeSession(miniature.SerializeToString(), SPEC, "fp32") as session:
        for index, frame in enumerate(frames):
            mask = upsample_argmax(session.run(frame[None])[0], SIZE)
            Image.fromarray(frame).save(tmp_path / f"data/images/{index}.png")
            Image.fromarray(mask).save(tmp_path / f"data/labels/{index}.png")
    return f"folder:{tmp_path / 'data'}"


def run(root: Path, data: str, *flags: str) -> tuple[int, dict[str, Any]]:
    """The command's exit code and its JSON, which the schema describes."""
    out = root.parent / "report.json"
    code = script.main(["--bundle", str(root), "--data", data, "--json", str(out), *flags])
    report = dict(json.loads(out.read_text()))
    jsonschema.validate(report, SCHEMA)
    return code, report


def test_tries_are_rows_for_contrast_and_the_naive_one_is_always_there(
    make_bundle: Callable[..., Path], data: str, miniature: ModelProto, ranges: dict[str, Ranges]
) -> None:
    _, result = run(make_bundle(), data, "--max-drop", "100", "--rank-frames", "0")
    rows = result["rows"]
    kinds = [(r["method"], r["flavour"], r["target"], r["shipped"]) for r in rows[1:]]
    assert kinds == [
        ("percentile", "u8", "cpu", True),
        ("percentile", "s8", "tensorrt", True),
        ("minmax", "u8", "cpu", False),
        ("minmax", "s8", "tensorrt", False),
        (str(NAIVE), "u8", "cpu", False),
        (str(NAIVE), "s8", "tensorrt", False),
    ]
    assert rows[3]["bytes"] == quantized(miniature, ranges["minmax"], "u8").ByteSize()
    assert rows[3]["p50_ms"] > 0
    assert rows[4]["p50_ms"] is None
    assert min(row["drop"] for row in rows[5:]) > max(row["drop"] for row in rows[1:5])


def test_a_failing_try_fails_no_gate_and_tries_may_be_left_out(
    make_bundle: Callable[..., Path], data: str
) -> None:
    root = make_bundle()
    _, result = run(root, data, "--max-drop", "100", "--rank-frames", "0")
    shipped = max(row["drop"] for row in result["rows"] if row["shipped"])
    naive = result["rows"][-1]["drop"]
    limit = str((shipped + naive) / 2)
    code, result = run(root, data, "--max-drop", limit, "--rank-frames", "0")
    assert (code, result["gate"]["failures"]) == (0, [])
    _, result = run(root, data, "--max-drop", limit, "--rank-frames", "0", "--no-tries")
    assert all(row["shipped"] for row in result["rows"])


def test_equal_inputs_give_equal_reports_but_for_times(
    without_times: Callable[..., dict[str, Any]], make_bundle: Callable[..., Path], data: str
) -> None:
    root = make_bundle()
    first, second = (without_times(run(root, data, "--crf", "exact")[1]) for _ in range(2))
    assert first == second
    assert len(first["rankings"]) == 2


def test_a_bad_scale_ranks_its_layer_first_and_fails_the_gate(
    make_bundle: Callable[..., Path], data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, lines = tmp_path / "r.html", tmp_path / "r.md"
    flags = ("--max-drop", "5", "--no-tries", "--html", str(page), "--markdown", str(lines))
    code, result = run(make_bundle(coarse_scale), data, *flags)
    assert code == 3
    cpu, tensorrt = result["rankings"]
    assert (cpu["flavour"], cpu["target"], cpu["frames"]) == ("u8", "cpu", 2)
    assert cpu["layers"][0]["name"] == RUINED
    assert tensorrt["layers"][0]["name"] != RUINED  # its graph is whole
    assert cpu["layers"][0]["logits_db"] < tensorrt["layers"][0]["logits_db"] - 6
    assert [layer["logits_db"] for layer in cpu["layers"]] == sorted(
        layer["logits_db"] for layer in cpu["layers"]
    )
    for text in (page.read_text(), lines.read_text(), capsys.readouterr().out):
        assert RUINED in text


def test_equalised_layers_are_compared_with_the_equalised_graph(
    make_bundle: Callable[..., Path], data: str, miniature: ModelProto, ranges: dict[str, Ranges]
) -> None:
    factors = np.concatenate([np.log2(f) for f in ranges[EQUALISED].factors.values()])
    assert np.abs(factors).max() > 0.5  # against the old channels that is an error of 8 dB
    root = make_bundle(scheme=EQUALISED)
    function = float_graph(Bundle.open(root), "u8")
    assert function != miniature
    frame = np.random.default_rng(0).integers(0, 256, (1, *SIZE, 3), dtype=np.uint8)
    both = [
        OnnxRuntimeSession(graph.SerializeToString(), SPEC, "float").run(frame)
        for graph in (miniature, function)
    ]
    np.testing.assert_allclose(both[0], both[1], atol=1e-4)
    _, result = run(root, data, "--max-drop", "100", "--no-tries")
    for ranking in result["rankings"]:
        assert min(layer["sqnr_db"] for layer in ranking["layers"]) > 15


def coarse_scale(graph: ModelProto) -> None:
    """Give the ruined layer's result steps that are 40 times too large."""
    (node,) = (node for node in graph.graph.node if node.name == RUINED)
    while node.op_type != "QuantizeLinear":  # behind the activation
        (node,) = (reader for reader in graph.graph.node if node.output[0] in reader.input)
    (scale,) = (tensor for tensor in graph.graph.initializer if tensor.name == node.input[1])
    coarse = np.asarray(numpy_helper.to_array(scale) * 40, np.float32)
    scale.CopyFrom(numpy_helper.from_array(coarse, scale.name))
