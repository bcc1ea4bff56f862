"""How an ONNX graph hangs together: who makes a tensor, who reads it, what is constant."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper


class Wiring:
    """A read-only index of one graph; build a new one after changing the graph.

    `producer` maps a tensor to its node, `consumers` to the nodes that read it, in graph order,
    `constants` to its value: initializers and the outputs of Constant nodes.
    """

    def __init__(self, model: ModelProto) -> None:
        self.nodes = list(model.graph.node)
        self.outputs = {value.name for value in model.graph.output}
        self.producer = {name: node for node in self.nodes for name in node.output if name}
        self.consumers: dict[str, list[NodeProto]] = defaultdict(list)
        for node in self.nodes:
            for name in dict.fromkeys(node.input):
                self.consumers[name].append(node)
        self.constants = {tensor.name: tensor for tensor in model.graph.initializer}
        for node in self.nodes:
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                self.constants[node.output[0]] = node.attribute[0].t

    def value(self, name: str) -> NDArray[np.generic]:
        """The value of a constant tensor."""
        return numpy_helper.to_array(self.constants[name])

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a constant tensor."""
        return tuple(self.constants[name].dims)

    def dequantizer(self, tensor: str) -> NodeProto | None:
        """The DequantizeLinear that a tensor comes out of, if it does."""
        producer = self.producer.get(tensor)
        return producer if producer and producer.op_type == "DequantizeLinear" else None


def attribute(node: NodeProto, name: str, default: int) -> int:
    """An integer attribute of a node, or its default."""
    return next((item.i for item in node.attribute if item.name == name), default)


def quantized_convolutions(model: ModelProto) -> list[str]:
    """Names of the convolutions whose weights are quantized, in graph order."""
    wiring = Wiring(model)
    convolutions = (node for node in wiring.nodes if node.op_type == "Conv")
    return [node.name for node in convolutions if wiring.dequantizer(node.input[1])]


def element_types(model: ModelProto) -> dict[str, int]:
    """Tensor name -> TensorProto element type, as far as shape inference can tell."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    values = [*graph.input, *graph.value_info, *graph.output]
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    return types | {tensor.name: tensor.data_type for tensor in graph.initializer}


def float_activations(model: ModelProto) -> list[str]:
    """The FP32 tensors that nodes compute, in graph order."""
    types = element_types(model)
    outputs = (name for node in model.graph.node for name in node.output)
    return [name for name in outputs if types.get(name) == TensorProto.FLOAT]
