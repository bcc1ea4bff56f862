"""A quantized graph taken apart into layers, so that each can be run on the float graph's tensors.

Along a quantized network errors add up, and the layer with the worst output is usually one of the
last, whoever spoilt it. So each layer is cut out and fed with what the float graph has in that
place: then the error of its result is its own. A layer is an operator with the activation fused to
it; to it belong its quantized weights and the rounding of its result. The rounding of its inputs
belongs to the layers that made them. So nothing counts twice, and a wrong scale has one owner.

Nodes and tensors are matched by name, which Q/DQ graphs keep. What lies before the first
convolution belongs to that one: the CPU's graph reads bytes there (see `stem`, `columns`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from onnx import ModelProto, NodeProto, TensorProto, helper

from calibration.graphs.placement import ACTIVATIONS, WEIGHTED, reaches_back
from calibration.graphs.wiring import Wiring, element_types, float_activations
from engines.failures import Refused

QUANTIZERS = ("QuantizeLinear", "DequantizeLinear")
PREFIX = "quantized:"  # of the names of tensors and nodes that come from the quantized graph


@dataclass(frozen=True)
class Layer:
    """A node of the float graph and the tensor that it and a fused activation end in."""

    node: NodeProto
    result: str


@dataclass(frozen=True)
class Piece:
    """What became of a layer: nodes that read float tensors by their own names.

    `raw` is the result as computed, `rounded` after its own quantization (`raw` where it has none).
    `split` says that nothing but weights is quantized in `raw`.
    """

    layer: Layer
    nodes: list[NodeProto]
    raw: str
    rounded: str
    split: bool


def layers(model: ModelProto) -> list[Layer]:
    """The layers of a float graph from the first convolution on, in graph order."""
    wiring, known = Wiring(model), set(float_activations(model))
    result = []
    for node in wiring.nodes:
        weighted = node.op_type in WEIGHTED or reaches_back(node, wiring, WEIGHTED)
        if weighted and node.output[0] in known and _fused_to(node, wiring) is None:
            readers = wiring.consumers[node.output[0]]
            follower = readers[0] if len(readers) == 1 else node
            fused = _fused_to(follower, wiring) is node
            result.append(Layer(node, follower.output[0] if fused else node.output[0]))
    return result


def _fused_to(node: NodeProto, wiring: Wiring) -> NodeProto | None:
    """The node that an activation becomes one with: it alone reads its result."""
    if node.op_type not in ACTIVATIONS:
        return None
    tensor = node.input[0]
    producer = wiring.producer.get(tensor)
    alone = len(wiring.consumers[tensor]) == 1 and tensor not in wiring.outputs
    return producer if alone and (producer is None or producer.op_type not in ACTIVATIONS) else None


class Pieces:
    """Cuts a quantized graph along the layers of the float graph that it was made of."""

    def __init__(self, model: ModelProto, quantized: ModelProto) -> None:
        self.model = model
        self.layers = layers(model)
        self._results = {layer.result for layer in self.layers}
        self._wiring = Wiring(quantized)
        self._types = element_types(quantized)
        self._constants = [*quantized.graph.initializer]
        self._places = {node.output[0]: place for place, node in enumerate(self._wiring.nodes)}
        self._by_name = {node.name: node for node in self._wiring.nodes}
        self._check()

    def pieces(self) -> Iterator[Piece]:
        """The layers that are quantized at all: their weights, their result, or both."""
        for layer in self.layers:
            found = self._nodes_of(layer)
            if any(node.op_type in QUANTIZERS for node in found):
                yield self._piece(layer, found)

    def every(self) -> Iterator[Piece]:
        """All layers, also those that are computed in float."""
        for layer in self.layers:
            yield self._piece(layer, self._nodes_of(layer))

    def tap(self, layer: Layer) -> str:
        """The tensor of the quantized graph that stands for a layer's result."""
        return self._rounded(layer.result)

    def reads_raw(self, reader: NodeProto, piece: Piece) -> bool:
        """Whether the twin of a float node reads a layer's result as it was before rounding."""
        twin = self._by_name.get(reader.name)
        return twin is not None and piece.layer.result in twin.input

    def graft(self, pieces: list[Piece]) -> ModelProto:
        """A copy of the float graph with these pieces beside it; its outputs are unchanged."""
        result = ModelProto()
        result.CopyFrom(self.model)
        needed = {name for piece in pieces for node in piece.nodes for name in node.input}
        for tensor in self._constants:
            if PREFIX + tensor.name in needed:
                result.graph.initializer.add().CopyFrom(tensor)
                result.graph.initializer[-1].name = PREFIX + tensor.name
        after = {piece.layer.result: piece.nodes for piece in pieces}
        nodes: dict[str, NodeProto] = {}  # by output: pieces share what lies before the first layer
        for node in self.model.graph.node:
            nodes[node.output[0]] = node
            nodes |= {added.output[0]: added for added in after.get(node.output[0], ())}
        del result.graph.node[:]
        result.graph.node.extend(nodes.values())
        return result

    def _check(self) -> None:
        lost = [item for item in self.layers if item.result not in self._places]
        if lost or not self.layers:
            name = lost[0].result if lost else "a convolution"
            raise Refused(
                f"the quantized graph lacks {name}, which the float graph has: they are not of one "
                "build; build the bundle again with python export/build_engine.py"
            )

    def _nodes_of(self, layer: Layer) -> list[NodeProto]:
        """The quantized graph's nodes between other layers' results and this one's, rounded."""
        pending, found = [self._rounded(layer.result)], dict[int, NodeProto]()
        while pending:
            tensor = pending.pop()
            node = self._wiring.producer.get(tensor)
            if node is None or self._places[node.output[0]] in found:
                continue
            if self._float_twin(tensor) in (None, layer.result):
                found[self._places[node.output[0]]] = node
                pending.extend(node.input)
        return [node for _, node in sorted(found.items())]

    def _float_twin(self, tensor: str) -> str | None:
        """The layer's result that a tensor of the quantized graph stands for, rounded or not."""
        if tensor in self._results:
            return tensor
        producer = self._wiring.producer.get(tensor)
        for kind in reversed(QUANTIZERS):
            if producer is None or producer.op_type != kind:
                return None
            tensor = producer.input[0]
            if tensor in self._results:
                return tensor
            producer = self._wiring.producer.get(tensor)
        return None

    def _rounded(self, tensor: str) -> str:
        """The tensor that readers of a quantized result read; itself if it is not quantized."""
        for kind in QUANTIZERS:
            readers = [n for n in self._wiring.consumers[tensor] if n.op_type == kind]
            if not readers:
                return tensor
            tensor = readers[0].output[0]
        return tensor

    def _piece(self, layer: Layer, found: list[NodeProto]) -> Piece:
        own = {name for node in found for name in node.output}
        nodes: list[NodeProto] = []
        for node in found:
            copy = NodeProto()
            copy.CopyFrom(node)
            copy.name = PREFIX + node.name
            copy.input[:] = [self._source(name, own, nodes) for name in node.input]
            copy.output[:] = [PREFIX + name for name in node.output]
            nodes.append(copy)
        raw, rounded = self._raw(layer.result), self._rounded(layer.result)
        inner = [n for n in found if n.op_type == QUANTIZERS[0] and n.input[0] != raw]
        ends = self._as_float(raw, nodes), self._as_float(rounded, nodes)
        return Piece(layer, nodes, *ends, split=not inner)

    def _raw(self, result: str) -> str:
        """A result before its rounding; the logits' own name is that of the rounded ones."""
        tensor = result
        for kind in reversed(QUANTIZERS):
            producer = self._wiring.producer[tensor]
            if producer.op_type != kind:
                return result
            tensor = producer.input[0]
        return tensor

    def _source(self, name: str, own: set[str], nodes: list[NodeProto]) -> str:
        """What a piece's node reads: its own tensors and constants, frames, or float results."""
        if not name or name == self.model.graph.input[0].name:
            return name
        twin = self._float_twin(name)
        if name in own or twin is None:
            return PREFIX + name
        if self._types.get(twin) != TensorProto.FLOAT16:
            return twin
        half = f"{PREFIX}{twin}:half"
        nodes.append(helper.make_node("Cast", [twin], [half], half, to=TensorProto.FLOAT16))
        return half

    def _as_float(self, name: str, nodes: list[NodeProto]) -> str:
        if self._types.get(name) != TensorProto.FLOAT16:
            return PREFIX + name
        single = f"{PREFIX}{name}:float"
        nodes.append(
            helper.make_node("Cast", [PREFIX + name], [single], single, to=TensorProto.FLOAT)
        )
        return single
