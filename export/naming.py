"""Names for nodes and tensors that outlive the exporter: the module path and the operator.

`backbone.blocks.1.0.conv_pw/Conv`, `decoder/Concat`, `aspp.project.relu/Relu`. Calibration ranges,
verification and reports are keyed by them, so they follow from the network alone; torch numbers its
nodes anew in every release, and with every change of the network.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Collection
from typing import Any

from onnx import ModelProto, NodeProto

SCOPES = "pkg.torch.onnx.name_scopes"  # "['', 'network', 'network.decoder', 'cat_1']": path, op
NETWORK = "network."  # `train.deployable.Deployable` holds the network under this name
CONV_BIAS = 2
MACHINE_FIELDS = ("doc_string", "metadata_props")  # stack traces, with this machine's paths


def rename(model: ModelProto, parameters: Collection[str]) -> None:
    """Rename every node and inner tensor of a freshly exported graph, in place.

    `parameters` are the module's own parameter and buffer names. The graph's inputs and outputs
    keep their names; a repeated operator of one module is numbered from its second on (`/Add_1`).
    """
    keep = {value.name for value in (*model.graph.input, *model.graph.output)}
    initializers = {tensor.name for tensor in model.graph.initializer}
    tensors: dict[str, str] = {}
    taken: Counter[str] = Counter()

    def unique(name: str) -> str:
        taken[name] += 1
        return name if taken[name] == 1 else unique(f"{name}_{taken[name] - 1}")

    for node in model.graph.node:
        module = module_path(node, parameters)
        node.name = unique(f"{module}/{node.op_type}".lstrip("/"))
        for slot, tensor in enumerate(node.input):
            if tensor in initializers and tensor not in tensors:
                tensors[tensor] = unique(_constant_name(node, module, slot, parameters))
        for index, tensor in enumerate(node.output):
            tensors[tensor] = node.name if index == 0 else unique(f"{node.name}:{index}")
    _apply(model, {old: new for old, new in tensors.items() if old not in keep})


def module_path(node: NodeProto, parameters: Collection[str]) -> str:
    """The module a node belongs to: of the parameter it reads, else of the exporter's scope.

    The parameter comes first because the exporter files a convolution with a folded batch norm
    under the batch norm.
    """
    for tensor in node.input:
        if tensor in parameters:
            return str(tensor).removeprefix(NETWORK).rpartition(".")[0]
    scopes = next((item.value for item in node.metadata_props if item.key == SCOPES), None)
    if scopes is None:
        raise ValueError(f"the exporter left no {SCOPES} on node {node.name}: its torch is too old")
    return str(ast.literal_eval(scopes)[-2]).removeprefix(NETWORK)


def strip(message: Any) -> None:
    """Remove doc strings and metadata from a protobuf message and all in it, in place."""
    for field, value in message.ListFields():
        if field.name in MACHINE_FIELDS:
            message.ClearField(field.name)
        elif field.message_type is not None:
            for item in [value] if hasattr(value, "ListFields") else value:
                strip(item)


def _constant_name(node: NodeProto, module: str, slot: int, parameters: Collection[str]) -> str:
    if node.input[slot] in parameters:
        return str(node.input[slot]).removeprefix(NETWORK)
    if node.op_type == "Conv" and slot == CONV_BIAS:
        return f"{module}.bias"  # made by folding the batch norm
    return f"{node.name}.{slot}"


def _apply(model: ModelProto, names: dict[str, str]) -> None:
    for node in model.graph.node:
        for tensors in (node.input, node.output):
            tensors[:] = [names.get(tensor, tensor) for tensor in tensors]
    for tensor in model.graph.initializer:
        tensor.name = names.get(tensor.name, tensor.name)
    del model.graph.value_info[:]  # they bear the old names; shape inference writes them anew
