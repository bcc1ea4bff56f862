"""A network of five convolutions in this project's form, written node by node: no torch needed."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from calibration.ranges.observe import quantizable
from engines.ranges import Ranges, RangesKey
from engines.spec import ModelSpec

CHANNELS = 32
SIZE = (33, 49)  # odd, so that a wrong rounding of a stride shows
ATROUS, POINT = "aspp.depthwise/Conv", "aspp.pointwise/Conv"

SPEC = ModelSpec(
    name="miniature",
    architecture="by-hand",
    classes=("a", "b", "c"),
    palette=((0, 0, 0),) * 3,
    input_size=SIZE,
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
)


def miniature() -> ModelProto:
    """Strides 2 and 2, an atrous-separable pair, image pooling, a Resize, a classifier: FP32."""
    rng = np.random.default_rng(0)
    height, width = SPEC.logits_size
    shapes = {
        "stem": (CHANNELS, 3, 3, 3), "down": (CHANNELS, CHANNELS, 3, 3),
        "depthwise": (CHANNELS, 1, 3, 3), "pointwise": (CHANNELS, CHANNELS, 1, 1),
        "twin": (CHANNELS, CHANNELS, 1, 1), "classifier": (3, CHANNELS, 1, 1),
    }  # fmt: skip
    constants = {
        name: rng.normal(0, np.prod(shape[1:]) ** -0.5, shape).astype(np.float32)
        for name, shape in shapes.items()
    }
    constants["scale"] = np.array(1 / 255, np.float32)
    constants["plane"] = np.array([1, 1, height, width])
    constants["target"] = np.array([1, CHANNELS, *SIZE])
    constants["back"] = np.array([1, CHANNELS, height, width])
    half: dict[str, Any] = {"strides": [2, 2], "pads": [1] * 4}
    rate: dict[str, Any] = {"dilations": [6, 6], "pads": [6] * 4, "group": CHANNELS}
    node = helper.make_node
    nodes = [
        node("Cast", ["frames"], ["float"], "cast", to=TensorProto.FLOAT),
        node("Transpose", ["float"], ["planes"], "transpose", perm=[0, 3, 1, 2]),
        node("Mul", ["planes", "scale"], ["unit"], "scale"),
        node("Conv", ["unit", "stem"], ["a"], "stem/Conv", **half),
        node("Relu", ["a"], ["b"], "stem/Relu"),
        node("Conv", ["b", "down"], ["c"], "down/Conv", **half),
        node("Relu", ["c"], ["d"], "down/Relu"),
        node("Conv", ["d", "depthwise"], ["e"], ATROUS, **rate),
        node("Relu", ["e"], ["f"], "aspp/Relu"),
        node("Conv", ["f", "pointwise"], ["g"], POINT),
        node("Conv", ["f", "twin"], ["h"], "aspp.twin/Conv"),
        node("ReduceMean", ["d"], ["mean"], "mean", keepdims=1),
        node("Expand", ["mean", "plane"], ["spread"], "spread"),
        node("Add", ["g", "h"], ["i"], "sum"),
        node("Add", ["i", "spread"], ["j"], "pool"),
        node("Resize", ["j", "", "", "target"], ["k"], "up", mode="linear"),
        node("Resize", ["k", "", "", "back"], ["l"], "back", mode="linear"),
        node("Conv", ["l", "classifier"], ["logits"], "classifier/Conv"),
    ]
    for item in nodes:
        if item.op_type == "ReduceMean":
            constants["axes"] = np.array([2, 3])
            item.input.append("axes")
    graph = helper.make_graph(
        nodes,
        "miniature",
        [helper.make_tensor_value_info("frames", TensorProto.UINT8, [1, *SIZE, 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 3, height, width])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)


def ranges_of(model: ModelProto) -> Ranges:
    """Every tensor from -4 to 4: what the ranges are does not matter here."""
    key = RangesKey("no model", SPEC.fingerprint(), "1", "no frames", "minmax")
    return Ranges(key, 1, dict.fromkeys(quantizable(model), (-4.0, 4.0)), {})
