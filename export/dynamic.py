"""A graph for one frame of one size -> the same graph for several frames, or frames of any size.

The bundle's graphs keep their fixed shapes, and TensorRT's are opened when a plan is built. Only
constants know a shape: targets of Resize, Expand and Reshape. Each becomes an expression of the
input's shape at run time.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, helper, numpy_helper

from calibration.graphs.wiring import Wiring
from engines.failures import Refused
from export.contract import INPUT, shape_of

TARGET_SLOT = {"Resize": 3, "Expand": 1, "Reshape": 1}
STRIDES = (1, 2, 4, 8, 16, 32)  # of a feature map: its height is ceil(frame's / stride)
SHAPE, BATCH, PLANE = f"{INPUT}/shape", f"{INPUT}/batch", f"{INPUT}/plane"


def opened(model: ModelProto, batch: bool, size: bool = False) -> ModelProto:
    """A copy of a graph in our form whose number of frames, or height and width, is open.

    A graph that fixes a shape in a way that is not understood raises `Refused`.
    """
    result = copy.deepcopy(model)
    targets = list(_targets(result, batch, size))
    _open_ends(result, batch, size)
    head = _Head(result)
    for node, slot, parts in targets:
        node.input[slot] = head.shape(node.name, parts)
    for node in reversed(head.nodes):
        result.graph.node.insert(0, node)
    del result.graph.value_info[:]
    onnx.checker.check_model(result, full_check=True)
    return result


class _Head:
    """Nodes at the start of a graph that compute shapes, each once."""

    def __init__(self, model: ModelProto) -> None:
        self.model = model
        self.nodes: list[NodeProto] = []
        self.made: set[str] = set()

    def shape(self, name: str, parts: list[int | str]) -> str:
        """The tensor [d0, d1, ...]; a part is a number, the batch, or a plane (h and w) by name."""
        inputs = [
            self._constant(str(part), [part]) if isinstance(part, int) else self._part(part)
            for part in parts
        ]
        return self._node("Concat", inputs, f"{name}.shape", axis=0)

    def _part(self, name: str) -> str:
        if name == BATCH:
            return self._slice(0, 1, BATCH)
        stride = int(name.rpartition("/")[2])
        plane = self._slice(1, 3, PLANE)
        above = self._constant(f"{stride}-1", [stride - 1])
        raised = self._node("Add", [plane, above], f"{name}.raised")
        return self._node("Div", [raised, self._constant(str(stride), [stride])], name)

    def _slice(self, start: int, end: int, name: str) -> str:
        shape = self._node("Shape", [INPUT], SHAPE)
        ends = [self._constant(str(index), [index]) for index in (start, end)]
        return self._node("Slice", [shape, *ends], name)

    def _node(self, kind: str, inputs: list[str], name: str, **attributes: Any) -> str:
        if name not in self.made:
            self.made.add(name)
            self.nodes.append(helper.make_node(kind, inputs, [name], name, **attributes))
        return name

    def _constant(self, text: str, value: list[int]) -> str:
        name = f"{INPUT}/{text}"
        if name not in self.made:
            self.made.add(name)
            tensor = numpy_helper.from_array(np.array(value, np.int64), name)
            self.model.graph.initializer.append(tensor)
        return name


def _open_ends(model: ModelProto, batch: bool, size: bool) -> None:
    """Give the open dimensions of `frames` and `logits` names instead of numbers."""
    names: dict[int, str] = {0: "batch"} if batch else {}
    planes = {1: "height", 2: "width"}, {2: "rows", 3: "columns"}
    for value, plane in zip((model.graph.input[0], model.graph.output[0]), planes, strict=True):
        dims = value.type.tensor_type.shape.dim
        for index, name in (names | plane if size else names).items():
            dims[index].dim_param = name


def _targets(
    model: ModelProto, batch: bool, size: bool
) -> Iterator[tuple[NodeProto, int, list[int | str]]]:
    """The nodes whose constant target must change, with its slot and what it becomes."""
    wiring = Wiring(model)
    height, width = (int(number) for number in shape_of(model.graph.input[0])[1:3])
    for node in model.graph.node:
        slot = TARGET_SLOT.get(node.op_type)
        if slot is None or len(node.input) <= slot or not node.input[slot]:
            continue  # a Resize by scales follows by itself
        target = _constant_target(node, slot, wiring)
        parts: list[int | str] = list(target)
        if batch and node.op_type != "Expand" and target[0] == 1:
            parts[0] = BATCH  # an Expand to 1 leaves the batch as it is
        if size and target[2:] != [1, 1]:
            parts[2:] = [_plane(node, target, height, width)]
        if parts != target:
            yield node, slot, parts


def _constant_target(node: NodeProto, slot: int, wiring: Wiring) -> list[int]:
    if node.input[slot] not in wiring.constants:
        raise Refused(f"{node.name!r} computes its target shape: give a graph of fixed shape")
    target = [int(number) for number in np.asarray(wiring.value(node.input[slot]))]
    if len(target) != 4 or target[0] != 1:
        raise Refused(
            f"{node.name!r} is a {node.op_type} to {target}: its batch cannot be told; build for "
            "--batch 1 and one --input-size"
        )
    return target


def _plane(node: NodeProto, target: list[int], height: int, width: int) -> str:
    for stride in STRIDES:
        if target[2:] == [-(-height // stride), -(-width // stride)]:
            return f"{PLANE}/{stride}"
    raise Refused(
        f"{node.name!r} makes {target[2:]} of frames of {height}x{width}, which no stride does: "
        "frames of other sizes are not possible; build for one --input-size"
    )
