"""Batch norms folded into the convolutions before them.

This project's own exporter folds them; a graph from elsewhere may still have some. Between a
convolution and its activation a batch norm would keep the two from becoming one integer kernel, and
hide from equalisation and bias correction which weights are rounded.
"""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, NodeProto, numpy_helper

from calibration.graphs.wiring import Wiring

EPSILON = 1e-5  # of ONNX, where the node names none


def fold_batch_norms(model: ModelProto) -> list[str]:
    """Fold every batch norm that alone reads a convolution's result, in place; their names.

    The convolution takes over the batch norm's output tensor. A batch norm elsewhere, as one before
    its convolution, or one of shared or computed weights, stays and runs in float.
    """
    wiring = Wiring(model)
    found = [node for node in wiring.nodes if _foldable(node, wiring)]
    for node in found:
        _fold(model, node, wiring)
    if found:
        del model.graph.value_info[:]
    return [node.name for node in found]


def _foldable(node: NodeProto, wiring: Wiring) -> bool:
    maker = wiring.producer.get(node.input[0]) if node.op_type == "BatchNormalization" else None
    if maker is None or maker.op_type != "Conv" or maker.output[0] in wiring.outputs:
        return False
    weights = maker.input[1:]
    return (
        list(node.output[1:]) == []  # others would be a training graph's statistics
        and len(wiring.consumers[maker.output[0]]) == 1
        and all(name in wiring.constants for name in (*weights, *node.input[1:]))
        and all(len(wiring.consumers[name]) == 1 for name in weights)
    )


def _fold(model: ModelProto, node: NodeProto, wiring: Wiring) -> None:
    """w' = w g and b' = beta + (b - mean) g, where g = gamma / sqrt(variance + epsilon)."""
    convolution = wiring.producer[node.input[0]]
    gamma, beta, mean, variance = (wiring.value(n).astype(np.float64) for n in node.input[1:5])
    given = {item.name: item.f for item in node.attribute}
    gain = gamma / np.sqrt(variance + given.get("epsilon", EPSILON))
    if len(convolution.input) == 2:
        convolution.input.append(f"{convolution.name}.bias")
        empty = numpy_helper.from_array(np.zeros(len(gain), np.float32), convolution.input[2])
        wiring.constants[empty.name] = model.graph.initializer.add()
        wiring.constants[empty.name].CopyFrom(empty)
    weight, bias = (wiring.value(name).astype(np.float64) for name in convolution.input[1:])
    values = (weight * gain.reshape(-1, 1, 1, 1), beta + (bias - mean) * gain)
    for name, value in zip(convolution.input[1:], values, strict=True):
        wiring.constants[name].CopyFrom(numpy_helper.from_array(value.astype(np.float32), name))
    convolution.output[0] = node.output[0]
    model.graph.node.remove(node)
