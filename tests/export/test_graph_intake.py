"""ONNX files from elsewhere: good ones come in, hostile and broken ones get one sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from calibration.graphs.execution import load
from engines.failures import Refused
from engines.spec import ModelSpec
from export import intake
from export.graph import OPSET
from export.intake import read_untrusted

SPEC = ModelSpec("foreign", "unknown", ("a", "b"), ((0, 0, 0),) * 2, (32, 48), (0,) * 3, (1,) * 3)


def foreign(opset: int = OPSET) -> ModelProto:
    """uint8 [1, 32, 48, 3] -> float [1, 2, 8, 12], with names and an opset of its own."""
    random = np.random.default_rng(0)
    axes: dict[str, Any] = {"axes": [2, 3]} if opset < 18 else {}
    nodes = [
        helper.make_node("Cast", ["image"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["f"], ["t"], "turn", perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["t", "w", "b"], ["c"], strides=[8, 8]),
        helper.make_node("ReduceMean", ["c"] if axes else ["c", "axes"], ["m"], "mean", **axes),
        helper.make_node("Add", ["c", "m"], ["s"], "sum"),
        helper.make_node("Resize", ["s", "", "", "size"], ["scores"], "up", mode="linear"),
    ]
    constants: dict[str, NDArray[Any]] = {
        "w": random.normal(size=(2, 3, 8, 8)).astype(np.float32),
        "b": random.normal(size=2).astype(np.float32),
        "size": np.array([1, 2, 8, 12], np.int64),
    }
    if not axes:
        constants["axes"] = np.array([2, 3], np.int64)
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, 32, 48, 3])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 2, 8, 12])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    model.doc_string = "made at /home/somebody"
    return model


def written(folder: Path, model: ModelProto) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("opset", [13, 17, OPSET, OPSET + 1])
def test_a_good_file_comes_in_and_computes_the_same(tmp_path: Path, opset: int) -> None:
    original = foreign(opset)
    model = read_untrusted(written(tmp_path, original), SPEC)
    assert model.opset_import[0].version == max(opset, OPSET)
    assert (model.graph.input[0].name, model.graph.output[0].name) == ("frames", "logits")
    assert [node.name for node in model.graph.node if node.op_type == "Conv"] == ["c/Conv"]
    assert b"somebody" not in model.SerializeToString()
    frame = np.random.default_rng(1).integers(0, 256, (1, 32, 48, 3), np.uint8)
    expected = load(original).run(None, {"image": frame})[0]
    np.testing.assert_allclose(load(model).run(None, {"frames": frame})[0], expected, rtol=1e-5)


def test_batch_norms_are_folded(tmp_path: Path) -> None:
    original = foreign()
    original.graph.node[2].output[0] = "raw"
    statistics = [("gain", 2.0), ("shift", 1.0), ("mean", 0.5), ("variance", 4.0)]
    for name, value in statistics:
        tensor = numpy_helper.from_array(np.full(2, value, np.float32), name)
        original.graph.initializer.append(tensor)
    norm = helper.make_node("BatchNormalization", ["raw", *dict(statistics)], ["c"])
    original.graph.node.insert(3, norm)
    model = read_untrusted(written(tmp_path, original), SPEC)
    assert "BatchNormalization" not in [node.op_type for node in model.graph.node]
    frame = np.random.default_rng(1).integers(0, 256, (1, 32, 48, 3), np.uint8)
    expected = load(original).run(None, {"image": frame})[0]
    np.testing.assert_allclose(load(model).run(None, {"frames": frame})[0], expected, rtol=1e-4)


def test_every_node_gets_a_name_of_its_own(tmp_path: Path) -> None:
    original = foreign()
    for node in original.graph.node:
        node.name = "same"
    names = [node.name for node in read_untrusted(written(tmp_path, original)).graph.node]
    assert names == ["same", "t/Transpose", "c/Conv", "m/ReduceMean", "s/Add", "logits/Resize"]


def test_a_large_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    with path.open("wb") as file:
        file.truncate(10 * 2**30)
    with pytest.raises(Refused, match=r"10,240 MiB, the limit is 512"):
        read_untrusted(path)


def test_many_nodes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "MAX_NODES", 5)
    with pytest.raises(Refused, match="6 nodes, the limit is 5"):
        read_untrusted(written(tmp_path, foreign()))


def test_many_constants_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = foreign()
    model.graph.initializer.extend([numpy_helper.from_array(np.zeros(1), f"{i}") for i in range(4)])
    monkeypatch.setattr(intake, "MAX_NODES", 6)
    with pytest.raises(Refused, match="8 constants, the limit is 6"):
        read_untrusted(written(tmp_path, model))


def huge_weight(model: ModelProto) -> None:
    model.graph.initializer[0].dims[:] = [10**6, 10**6]


def many_dimensions(model: ModelProto) -> None:
    """The product of so many numbers would be computed for hours."""
    model.graph.initializer[0].dims[:] = [2**62] * 10**6


def inner_tensor_of_many_dimensions(model: ModelProto) -> None:
    value = model.graph.value_info.add(name="x")
    value.type.tensor_type.elem_type = TensorProto.FLOAT
    for _ in range(10**5):
        value.type.tensor_type.shape.dim.add(dim_value=2**62)


def damaged_weight(model: ModelProto) -> None:
    model.graph.initializer[0].raw_data = b"1234"


def huge_activation(model: ModelProto) -> None:
    model.graph.initializer[2].CopyFrom(
        numpy_helper.from_array(np.array([1, 2, 10**6, 10**6]), "size")
    )
    model.graph.node[5].output[0] = "wide"
    shape = numpy_helper.from_array(np.array([1, 2, 8, 12]), "shape")
    model.graph.initializer.append(shape)
    model.graph.node.append(helper.make_node("Resize", ["wide", "", "", "shape"], ["scores"]))


def custom_operator(model: ModelProto) -> None:
    model.graph.node[4].domain = "com.example"
    model.opset_import.append(helper.make_opsetid("com.example", 1))


def own_function(model: ModelProto) -> None:
    model.functions.add(name="f", domain="here")


def control_flow(model: ModelProto) -> None:
    model.graph.node.append(helper.make_node("If", ["c"], ["never"], "branch"))


def cycle(model: ModelProto) -> None:
    model.graph.node[4].input[1] = "scores"


def sparse_weight(model: ModelProto) -> None:
    model.graph.sparse_initializer.add()


def old_opset(model: ModelProto) -> None:
    model.opset_import[0].version = 11


def second_input(model: ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))


def float_input(model: ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT


def reserved_name(model: ModelProto) -> None:
    model.graph.node[0].output[0] = model.graph.node[1].input[0] = "logits"


def external_attribute(model: ModelProto) -> None:
    tensor = TensorProto(name="v", data_location=TensorProto.EXTERNAL)
    model.graph.node[0].attribute.append(helper.make_attribute("value", tensor))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (huge_weight, r"'w'.*declares the shape \[1000000, 1000000\]"),
        (many_dimensions, r"'w'.*declares the shape .{300,400} 1000000 in all\]$"),
        (inner_tensor_of_many_dimensions, r"'x'.*would have the shape .* 100000 in all\]$"),
        (damaged_weight, "declares 384 elements and holds 4 bytes"),
        (huge_activation, r"would have the shape \[1, 2, 1000000, 1000000\]"),
        (custom_operator, "'sum' is com.example.Add, a custom operator"),
        (own_function, "functions of its own"),
        (control_flow, "'branch' is If: control flow"),
        (cycle, "not a valid graph"),
        (sparse_weight, "sparse"),
        (old_opset, "opset 11: the oldest accepted is 13"),
        (second_input, "2 inputs and 1 outputs"),
        (float_input, "not a valid graph|'image' is float"),
        (reserved_name, "'logits', which is reserved"),
        (external_attribute, "keeps an attribute in another file"),
    ],
)
def test_a_doubtful_graph_is_refused(
    tmp_path: Path, spoil: Callable[[ModelProto], None], words: str
) -> None:
    model = foreign()
    spoil(model)
    with pytest.raises(Refused, match=words):
        read_untrusted(written(tmp_path, model))


def test_a_graph_of_another_size_than_its_spec_is_refused(tmp_path: Path) -> None:
    spec = ModelSpec("big", "unknown", ("a", "b"), ((0, 0, 0),) * 2, (64, 96), (0,) * 3, (1,) * 3)
    with pytest.raises(Refused, match=r"here \[1, 64, 96, 3\]"):
        read_untrusted(written(tmp_path, foreign()), spec)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "holds no graph"),
        (b"PK\x03\x04 a zip file, not a graph", "not an ONNX file|holds no graph"),
        (foreign().SerializeToString()[:-50], "not an ONNX file"),
    ],
)
def test_what_is_no_onnx_file_is_refused(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    with pytest.raises(Refused, match=words):
        read_untrusted(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.onnx", tmp_path):
        with pytest.raises(Refused, match="check the path"):
            read_untrusted(path)


def test_the_file_of_our_own_exporter_comes_in(tmp_path: Path, small: Any) -> None:
    path = tmp_path / "own.onnx"
    onnx.save(small.graph, path)
    assert read_untrusted(path, small.spec) == small.graph
