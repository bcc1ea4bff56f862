"""Convolutions that belong together when precision changes: each feeds the next one alone.

A convolution in float between two in INT8 costs two conversions and still reads and writes rounded
tensors (on the CPU). In a stretch that stays in float as a whole, what lies inside is not rounded
at all. Stretches end where a tensor has several readers, and at Add, Concat and Resize.
"""

from __future__ import annotations

from collections.abc import Collection

from onnx import ModelProto, NodeProto

from calibration.graphs.placement import ACTIVATIONS
from calibration.graphs.wiring import Wiring


def stretches(model: ModelProto, names: Collection[str]) -> list[tuple[str, ...]]:
    """The convolutions `names` of a float graph as stretches, in graph order."""
    wiring = Wiring(model)
    found: dict[str, list[str]] = {}  # by the name of the convolution that would come next
    result: list[list[str]] = []
    for node in wiring.nodes:
        if node.name in names:
            stretch = found.pop(node.name, None)
            if stretch is None:
                stretch = []
                result.append(stretch)
            stretch.append(node.name)
            following = _following(node, wiring)
            if following is not None:
                found[following.name] = stretch
    return [tuple(stretch) for stretch in result]


def _following(node: NodeProto, wiring: Wiring) -> NodeProto | None:
    """The convolution that alone reads a node's result, through activations."""
    readers = wiring.consumers[node.output[0]]
    if len(readers) != 1 or node.output[0] in wiring.outputs:
        return None
    (reader,) = readers
    if reader.op_type in ACTIVATIONS:
        return _following(reader, wiring)
    return reader if reader.op_type == "Conv" else None
