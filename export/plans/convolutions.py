"""The distinct convolutions of a graph, and a graph of one layer for each of them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from calibration.graphs.wiring import Wiring, attribute

OPSET = 19  # the first with FP16 scales
IR_VERSION = 9  # what TensorRT 10.3 reads


@dataclass(frozen=True)
class Convolution:
    """What decides which kernels exist: all of a convolution but its weights and bias."""

    inputs: int
    outputs: int
    groups: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    padding: tuple[int, int, int, int]  # rows above, columns left, rows below, columns right
    size: tuple[int, int]  # height, width of what it reads

    @property
    def depthwise(self) -> bool:
        """Whether every channel is convolved by itself."""
        return self.groups == self.inputs > 1

    def __str__(self) -> str:
        kind = "depthwise " if self.depthwise else f"groups {self.groups} " * (self.groups > 1)
        rate = f" rate {_brief(self.dilation)}" if self.dilation != (1, 1) else ""
        stride = f" stride {_brief(self.stride)}" if self.stride != (1, 1) else ""
        channels = f"{self.inputs}" if self.depthwise else f"{self.inputs}>{self.outputs}"
        return f"{kind}{_text(self.kernel)} {channels}{rate}{stride} on {_text(self.size)}"


def _text(pair: tuple[int, int]) -> str:
    return f"{pair[0]}x{pair[1]}"


def _brief(pair: tuple[int, int]) -> str:
    return str(pair[0]) if pair[0] == pair[1] else _text(pair)


def distinct(model: ModelProto) -> dict[Convolution, list[str]]:
    """Convolution -> the names of the nodes that are it, in graph order.

    The graph has fixed shapes; weights may be initializers or come out of a DequantizeLinear.
    """
    wiring = Wiring(model)
    inferred = onnx.shape_inference.infer_shapes(model).graph
    values = (*inferred.input, *inferred.value_info)
    sizes = {value.name: [dim.dim_value for dim in _dims(value)] for value in values}
    found: dict[Convolution, list[str]] = defaultdict(list)
    for node in model.graph.node:
        if node.op_type == "Conv":
            found[_describe(node, sizes[node.input[0]], _weight_shape(node, wiring))].append(
                node.name
            )
    return dict(found)


def one_layer(convolution: Convolution, int8: bool, half: bool = True) -> bytes:
    """A serialised graph of nothing but this convolution, in FP16, or in INT8 with FP16 scales;
    unless `half`, typed FP32, as a weakly typed network wants it."""
    real: Any = np.float16 if half else np.float32
    kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    node, nodes = "x", []
    constants: dict[str, Any] = {"bias": np.zeros(convolution.outputs, real)}
    weight = (convolution.outputs, convolution.inputs // convolution.groups, *convolution.kernel)
    codes = np.random.default_rng(0).integers(-127, 128, weight).astype(np.int8)
    if int8:
        scales = np.full(convolution.outputs, 1e-3, real)
        constants |= {"step": real(0.05), "zero": np.int8(0), "codes": codes}
        constants |= {"steps": scales, "zeros": np.zeros(convolution.outputs, np.int8)}
        nodes = [
            helper.make_node("QuantizeLinear", ["x", "step", "zero"], ["q"], "q"),
            helper.make_node("DequantizeLinear", ["q", "step", "zero"], ["dq"], "dq"),
            helper.make_node(
                "DequantizeLinear", ["codes", "steps", "zeros"], ["weight"], "dw", axis=0
            ),
        ]
        node = "dq"
    else:
        constants["weight"] = codes.astype(real) / real(1000)
    nodes.append(
        helper.make_node(
            "Conv", [node, "weight", "bias"], ["y"], "layer/Conv",
            group=convolution.groups, kernel_shape=convolution.kernel,
            strides=convolution.stride, dilations=convolution.dilation, pads=convolution.padding,
        )
    )  # fmt: skip
    graph = helper.make_graph(
        nodes,
        "layer",
        [helper.make_tensor_value_info("x", kind, [1, convolution.inputs, *convolution.size])],
        [helper.make_tensor_value_info("y", kind, [1, convolution.outputs, None, None])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    opset = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION)
    return bytes(model.SerializeToString())


def _dims(value: onnx.ValueInfoProto) -> list[onnx.TensorShapeProto.Dimension]:
    return list(value.type.tensor_type.shape.dim)


def _weight_shape(node: NodeProto, wiring: Wiring) -> tuple[int, ...]:
    """The weight's shape, through a DequantizeLinear, and a QuantizeLinear before it."""
    name = node.input[1]
    while name not in wiring.constants:
        name = wiring.producer[name].input[0]
    return wiring.shape(name)


def _describe(node: NodeProto, size: list[int], weight: tuple[int, ...]) -> Convolution:
    """`size` is [N, C, H, W] of what the node reads."""
    lists = {item.name: tuple(item.ints) for item in node.attribute if item.ints}
    groups = attribute(node, "group", 1)
    stride, dilation = (lists.get(name, (1, 1)) for name in ("strides", "dilations"))
    padding = lists.get("pads", (0, 0, 0, 0))
    return Convolution(
        weight[1] * groups, weight[0], groups, (weight[2], weight[3]),
        (stride[0], stride[1]), (dilation[0], dilation[1]),
        (padding[0], padding[1], padding[2], padding[3]), (size[2], size[3]),
    )  # fmt: skip
