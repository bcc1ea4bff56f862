"""Links: two convolutions, the first one's result read by the second one alone.

Along a link each channel may be divided by a factor where it is made and multiplied by it where it
is read (`equalise`), or shifted (`absorb`), and no other node sees it. A tensor with two readers,
as where a residual branch leaves, or one that an Add or a Concat reads, makes no link.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray
from onnx import ModelProto, NodeProto

from calibration.graphs.wiring import Wiring, attribute


@dataclass(frozen=True)
class Link:
    """`maker` -> (Relu, or Clip from 0 to `ceiling`) -> `reader`.

    `rectified` tells whether there is an activation; `ceiling` is infinite but for a Clip.
    """

    maker: NodeProto
    reader: NodeProto
    rectified: bool
    ceiling: float


def find_links(model: ModelProto) -> list[Link]:
    """Every link of a float graph, in graph order.

    Weights that two convolutions share make none: one of them may not change without the other.
    """
    wiring = Wiring(model)
    links = []
    for node in wiring.nodes:
        if not _owns_weights(node, wiring):
            continue
        reader, rectified, ceiling = _only_reader(node, wiring), False, math.inf
        if reader is not None and reader.op_type in ("Clip", "Relu"):
            rectified, ceiling = True, _ceiling(reader, wiring)
            reader = _only_reader(reader, wiring)
        if reader is not None and not math.isnan(ceiling) and _owns_weights(reader, wiring):
            links.append(Link(node, reader, rectified, ceiling))
    return links


def is_unpadded(node: NodeProto) -> bool:
    """Whether a convolution adds no zeros around its input."""
    pads = next((item.ints for item in node.attribute if item.name == "pads"), ())
    automatic = next((item.s for item in node.attribute if item.name == "auto_pad"), b"NOTSET")
    return not any(pads) and automatic in (b"NOTSET", b"VALID")


def groups(node: NodeProto) -> int:
    """The number of groups of a convolution."""
    return attribute(node, "group", 1)


def by_input(weight: NDArray[Any], group: int) -> NDArray[Any]:
    """Weights [O, I / group, h, w] as [group, O / group, I / group, h w]."""
    return weight.reshape(group, len(weight) // group, weight.shape[1], -1)


def _only_reader(node: NodeProto, wiring: Wiring) -> NodeProto | None:
    """What alone reads a node's result as its data."""
    tensor = node.output[0]
    readers = wiring.consumers[tensor]
    if tensor in wiring.outputs or len(readers) != 1 or list(readers[0].input).count(tensor) != 1:
        return None
    return readers[0] if readers[0].input[0] == tensor else None


def _owns_weights(node: NodeProto, wiring: Wiring) -> bool:
    return node.op_type == "Conv" and all(
        name in wiring.constants and len(wiring.consumers[name]) == 1
        for name in node.input[1:]
        if name
    )


def _ceiling(node: NodeProto, wiring: Wiring) -> float:
    """Where an activation that starts at 0 ends; NaN for a Clip that is not of that form."""
    if node.op_type == "Relu":
        return math.inf
    bounds = [name for name in node.input[1:] if name]
    if len(bounds) != 2 or any(name not in wiring.constants for name in bounds):
        return math.nan
    low, high = (float(wiring.value(name)) for name in bounds)
    return high if low == 0 else math.nan
