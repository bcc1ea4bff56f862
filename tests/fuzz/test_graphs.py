"""ONNX files from elsewhere, damaged byte by byte and field by field."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from onnx import ModelProto, TensorProto, helper, numpy_helper

from tests.fuzz.conftest import Fuzz
from tests.fuzz.damage import damaged
from tests.fuzz.graph_reader import read_graph

SIZES = (0, 1, -1, 3, 2**31, 10**12, 2**63 - 1, -(2**63))


def good(opset: int = 19) -> ModelProto:
    """uint8 [1, 32, 32, 3] -> float [1, 2, 8, 8], with what the reader looks into."""
    weights = {
        "w": np.ones((2, 3, 4, 4), np.float32),
        "gain": np.ones(2, np.float32),
        "shift": np.zeros(2, np.float32),
        "size": np.array([1, 2, 8, 8]),
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["f"], ["t"], "turn", perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["t", "w"], ["c"], "conv", strides=[4, 4]),
        helper.make_node("BatchNormalization", ["c", "gain", "shift", "shift", "gain"], ["n"]),
        helper.make_node("Resize", ["n", "", "", "size"], ["scores"], "up", mode="linear"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, 32, 32, 3])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 2, 8, 8])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def changed() -> SearchStrategy[bytes]:
    """The graph with one to four of its fields set to something else."""
    model = good()
    tensors = {name for node in model.graph.node for name in (*node.input, *node.output)}
    word = st.sampled_from(["", "x", "frames", "logits", *sorted(tensors)])
    number = st.sampled_from(SIZES)
    edit = st.tuples(st.integers(0, 8), st.integers(0, 4), st.integers(0, 3), word, number)
    return st.lists(edit, min_size=1, max_size=4).map(_edit)


def _edit(edits: list[tuple[int, int, int, str, int]]) -> bytes:
    model = good()
    graph = model.graph
    for kind, which, slot, word, number in edits:
        node, tensor = graph.node[which], graph.initializer[which % len(graph.initializer)]
        if kind == 0 and slot < len(node.input):
            node.input[slot] = word
        elif kind == 1 and node.output:
            node.output[0] = word
        elif kind == 2:
            tensor.dims[:] = [number] * slot
        elif kind == 3:
            tensor.data_type = abs(number) % 2**31
        elif kind == 4:
            del node.input[slot:]
        elif kind == 5:
            node.op_type = ["Conv", "If", "Reshape", "Expand", "ConstantOfShape"][which]
        elif kind == 6 and node.attribute:
            node.attribute[0].i = number
            node.attribute[0].ints[:] = [number] * slot
        elif kind == 7:
            model.opset_import[0].version = max(-(2**31), min(number, 2**31))
        else:
            tensor.raw_data = tensor.raw_data[:slot]
    return bytes(model.SerializeToString())


def hidden_graph() -> bytes:
    """An attribute that is a whole graph, which no operator here has."""
    model = good()
    inner = helper.make_graph([], "inner", [], [], [TensorProto(name="w", dims=[10**12])])
    model.graph.node[0].attribute.append(helper.make_attribute("body", inner))
    return bytes(model.SerializeToString())


def no_type() -> bytes:
    """An input of a type that ONNX does not know."""
    model = good()
    model.graph.input[0].type.tensor_type.elem_type = 99
    return bytes(model.SerializeToString())


def no_output() -> bytes:
    """A node without a result, and without a name to take from it."""
    model = good()
    model.graph.node.append(helper.make_node("Relu", ["f"], []))
    return bytes(model.SerializeToString())


def test_fields_of_a_graph(fuzz_apart: Fuzz, tmp_path: Path) -> None:
    known = [hidden_graph(), no_type(), no_output()]
    fuzz_apart(
        read_graph,
        changed().map(lambda data: (str(tmp_path), data)),
        known=[(str(tmp_path), data) for data in known],
    )


@pytest.mark.parametrize("opset", [13, 19])
def test_bytes_of_a_graph(fuzz_apart: Fuzz, tmp_path: Path, opset: int) -> None:
    model = good(opset)
    seed = bytes(model.SerializeToString())
    onnx.checker.check_model(model)
    fuzz_apart(read_graph, damaged(seed).map(lambda data: (str(tmp_path), data)))


def test_weights_beside_a_graph(fuzz_apart: Fuzz, tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"\0" * 384)
    words = st.sampled_from(
        ["weights", "../weights", "/etc/hostname", "", ".", "a\0b", "\\weights", "w" * 5000]
    )
    numbers = st.sampled_from(["0", "384", "-1", "1e3", "²", "9" * 30, "9" * 5000, ""])

    def external(told: tuple[str, str, str]) -> tuple[str, bytes]:
        model = good()
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in zip(("location", "offset", "length"), told, strict=True):
            tensor.external_data.add(key=key, value=value)
        return str(tmp_path), bytes(model.SerializeToString())

    fuzz_apart(read_graph, st.tuples(words, numbers, numbers).map(external))
