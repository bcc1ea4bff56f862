"""The places where a network is looked at: every layer of its float graph, in depth order."""

from __future__ import annotations

from dataclasses import dataclass

import onnx
from onnx import ModelProto, NodeProto

from calibration.graphs.pieces import layers
from calibration.graphs.placement import ACTIVATIONS, is_depthwise
from calibration.graphs.wiring import Wiring, attribute
from calibration.sensitivity import kind_of, rate_of
from export.atrous_oracle import effective_kernel
from export.verification.difference import NO_RING, Ring, ring_share

# They move values and compute none: an error of theirs shows in the layer that reads the result.
MOVING = ("Gather", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")


@dataclass(frozen=True)
class Place:
    """One layer: an operator and the activation fused to it.

    Args:
        name: Its node, `aspp.atrous.0.depthwise/Conv`.
        ends: The node that its result comes from: itself or the activation.
        result: The tensor that others read.
        kind: first, depthwise, pointwise, dense, classifier, pooling, add, concat, ...
        rate: A convolution's dilation; 1 for what has none.
        block: The part of the network that it belongs to: `backbone.blocks.1.0`, `decoder`.
        size: [h, w] of its result.
        ring: How deep padding reaches into its result.
        separable: It is half of an atrous-separable convolution, or atrous and dense.
    """

    name: str
    ends: str
    result: str
    kind: str
    rate: int
    block: str
    size: tuple[int, int]
    ring: Ring
    separable: bool

    @property
    def border_share(self) -> float:
        """The share of its positions that read padding."""
        return ring_share(self.size, self.ring)


def find_places(graph: ModelProto) -> list[Place]:
    """The layers of a float graph that compute, from the first convolution on, in graph order."""
    wiring, shapes = Wiring(graph), shapes_of(graph)
    return [
        Place(
            name=layer.node.name,
            ends=wiring.producer[layer.result].name,
            result=layer.result,
            kind=kind_of(layer.node, wiring),
            rate=rate_of(layer.node),
            block=block_of(layer.node.name),
            size=(shapes[layer.result][2], shapes[layer.result][3]),
            ring=ring_of(layer.node, wiring, shapes),
            separable=is_separable(layer.node, wiring),
        )
        for layer in layers(graph)
        if len(shapes[layer.result]) == 4 and layer.node.op_type not in MOVING
    ]


def shapes_of(graph: ModelProto) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor that shape inference can tell."""
    inferred = onnx.shape_inference.infer_shapes(graph, data_prop=True).graph
    return {
        value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
        for value in (*inferred.input, *inferred.value_info, *inferred.output)
    }


def block_of(name: str) -> str:
    """`backbone.blocks.1.0.conv_pw/Conv` -> `backbone.blocks.1.0`; `decoder.refine.0...` ->
    `decoder`: in the trunk down to the unit, in the head its part."""
    parts = name.partition("/")[0].split(".")
    if parts[0] != "backbone" or len(parts) == 1:
        return parts[0]
    numbers = next((i for i, part in enumerate(parts[2:], 2) if not part.isdigit()), len(parts))
    return ".".join(parts[: max(numbers, 2)])


def ring_of(node: NodeProto, wiring: Wiring, shapes: dict[str, tuple[int, ...]]) -> Ring:
    """How many rows and columns of a convolution's result read padding at each side."""
    if node.op_type != "Conv":
        return NO_RING
    options = {item.name: list(item.ints) for item in node.attribute}
    pads, strides = options.get("pads", [0] * 4), options.get("strides", [1, 1])
    rates, kernel = options.get("dilations", [1, 1]), wiring.shape(node.input[1])[2:]
    before, after = [], []
    for axis in (0, 1):
        size, count = shapes[node.input[0]][2 + axis], shapes[node.output[0]][2 + axis]
        span = effective_kernel(kernel[axis], rates[axis])
        first = [index * strides[axis] - pads[axis] for index in range(count)]
        before.append(sum(start < 0 for start in first))
        after.append(sum(start + span > size for start in first))
    return before[0], before[1], after[0], after[1]


def is_separable(node: NodeProto, wiring: Wiring) -> bool:
    """A depthwise convolution, the pointwise one that reads it, or a dense one with holes."""
    if node.op_type != "Conv":
        return False
    if is_depthwise(node, wiring) or rate_of(node) > 1:
        return True
    producer = wiring.producer.get(node.input[0])
    if producer is not None and producer.op_type in ACTIVATIONS:
        producer = wiring.producer.get(producer.input[0])
    pointwise = wiring.shape(node.input[1])[2:] == (1, 1) and attribute(node, "group", 1) == 1
    return pointwise and producer is not None and is_depthwise(producer, wiring)
