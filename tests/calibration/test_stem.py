"""Reading the camera's bytes as codes: the same network, or no rewrite."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from calibration.graphs.execution import load
from calibration.graphs.stem import read_bytes
from calibration.ranges.observe import expose

Frames = list[NDArray[np.uint8]]


def with_mean(model: ModelProto, mean: tuple[float, ...], std: tuple[float, ...]) -> ModelProto:
    result = ModelProto()
    result.CopyFrom(model)
    for name, values in (("mean", mean), ("std", std)):
        array = np.array(values, np.float32).reshape(1, 3, 1, 1)
        result.graph.initializer.append(numpy_helper.from_array(array, name))
    for node in result.graph.node:
        if node.name in ("Sub", "Div"):
            node.input[1] = {"Sub": "mean", "Div": "std"}[node.name]
    return result


def stem_output(model: ModelProto, frame: NDArray[np.uint8]) -> NDArray[np.float32]:
    session = load(expose(model, ["stem/Clip"]))
    result: NDArray[np.float32] = session.run(["stem/Clip"], {"frames": frame[None]})[0][0]
    return result


def test_with_a_whole_mean_the_network_is_the_same(miniature: ModelProto, frames: Frames) -> None:
    model = with_mean(miniature, (128.0,) * 3, (58.4, 57.1, 57.4))
    expected = stem_output(model, frames[0])
    assert read_bytes(model)
    assert [node.op_type for node in model.graph.node][:3] == [
        "Transpose",
        "DequantizeLinear",
        "Conv",
    ]
    np.testing.assert_allclose(stem_output(model, frames[0]), expected, atol=2e-5)


def test_half_a_level_off_matters_on_the_border_alone(
    miniature: ModelProto, frames: Frames
) -> None:
    model = with_mean(miniature, (127.5,) * 3, (127.5,) * 3)
    expected = stem_output(model, frames[0])
    assert read_bytes(model)
    difference = np.abs(stem_output(model, frames[0]) - expected)
    assert difference[:, 1:, 1:].max() < 2e-5
    assert 0 < difference.max() < 0.03


def test_unequal_means_are_left_alone(miniature: ModelProto) -> None:
    model = with_mean(miniature, (123.675, 116.28, 103.53), (58.4, 57.1, 57.4))
    before = model.SerializeToString(deterministic=True)
    assert not read_bytes(model)
    assert model.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize("tensor", ["Cast", "Sub", "Div"])
def test_a_tensor_with_another_reader_is_left_alone(miniature: ModelProto, tensor: str) -> None:
    model = with_mean(miniature, (128.0,) * 3, (128.0,) * 3)
    model.graph.node.append(helper.make_node("Identity", [tensor], ["copy"], "copy"))
    model.graph.output.append(helper.make_tensor_value_info("copy", TensorProto.FLOAT, None))
    assert not read_bytes(model)
