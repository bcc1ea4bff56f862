"""An exported graph as steps that PyTorch can run: what is trained is what is deployed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from onnx import ModelProto, NodeProto, helper, numpy_helper
from torch import Tensor

from engines.failures import Refused
from train.operators import OPERATORS

ENTRY = "normalise/Div"  # the network's input: `train.deployable.Normalise` gives it


@dataclass(frozen=True)
class Step:
    """One node; `last` are the tensors that no later step reads."""

    name: str
    kind: str
    inputs: tuple[str, ...]
    output: str
    attributes: dict[str, Any]
    last: tuple[str, ...]


@dataclass(frozen=True)
class Program:
    """A network without its weights, for images of one `size` (height, width).

    `constants` are what is neither weight nor activation: bounds, axes, shapes.
    """

    size: tuple[int, int]
    steps: tuple[Step, ...]
    constants: dict[str, Any]


def read_program(graph: ModelProto) -> Program:
    """The steps of an FP32 graph of `export.graph` behind its normalisation.

    An operator that has no twin in `train.operators` raises `Refused`.
    """
    nodes = behind_entry(graph)
    for node in nodes:
        if node.op_type not in OPERATORS:
            raise Refused(
                f"--qat cannot train {node.name}: {node.op_type} is not among the operators of "
                f"train/operators.py ({', '.join(OPERATORS)})"
            )
    weights = {name for name, _ in weights_of(graph)}
    constants = {
        tensor.name: numpy_helper.to_array(tensor).tolist()
        for tensor in graph.graph.initializer
        if tensor.name not in weights
    }
    height, width = (dim.dim_value for dim in graph.graph.input[0].type.tensor_type.shape.dim[1:3])
    return Program((height, width), tuple(steps_of(nodes)), constants)


def behind_entry(graph: ModelProto) -> list[NodeProto]:
    """The nodes that do not merely prepare the network's input, in graph order."""
    producers = {name: node for node in graph.graph.node for name in node.output}
    before, pending = set[str](), [ENTRY]
    while pending:
        producer = producers.get(pending.pop())
        if producer is not None:
            before.add(producer.name)
            pending.extend(producer.input)
    return [node for node in graph.graph.node if node.name not in before]


def steps_of(nodes: list[NodeProto]) -> Iterator[Step]:
    """The nodes as steps, each knowing whose last reader it is."""
    last_reader = {tensor: node.name for node in nodes for tensor in node.input}
    for node in nodes:
        yield Step(
            node.name,
            node.op_type,
            tuple(node.input),
            node.output[0],
            {item.name: helper.get_attribute_value(item) for item in node.attribute},
            tuple(tensor for tensor in set(node.input) if last_reader[tensor] == node.name),
        )


def weights_of(graph: ModelProto) -> Iterator[tuple[str, Tensor]]:
    """Name and value of each convolution's weight and bias, batch norm folded, in graph order."""
    values = {tensor.name: tensor for tensor in graph.graph.initializer}
    for node in graph.graph.node:
        if node.op_type == "Conv":
            for name in node.input[1:]:
                yield name, torch.from_numpy(np.array(numpy_helper.to_array(values[name])))
