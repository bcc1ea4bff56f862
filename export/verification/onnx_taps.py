"""ONNX graphs with taps: whole, with some results as extra outputs, or cut into single layers.

A tap is an output, and onnxruntime does not fuse across an output. So taps stand where a layer ends
(behind its activation, behind its rounding), and a session has those of a few blocks alone: the
rest of the network runs as it always does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper

from calibration.graphs.pieces import PREFIX, Piece, Pieces
from calibration.graphs.wiring import Wiring, element_types
from export.contract import INPUT
from export.verification.backends import Backend, on_onnxruntime
from export.verification.difference import Floats
from export.verification.places import Place, shapes_of

CHUNK = 20  # taps of a session at least: a fourth of MobileNetV2's, four runs for all


def chunks(places: list[Place]) -> list[list[Place]]:
    """Consecutive places, divided where a block ends."""
    result: list[list[Place]] = []
    for place in places:
        full = not result or len(result[-1]) >= CHUNK
        if full and (not result or result[-1][-1].block != place.block):
            result.append([])
        result[-1].append(place)
    return result


class TappedGraph:
    """A graph on frames [H, W, 3], in one session for each chunk of taps."""

    def __init__(
        self,
        graph: ModelProto,
        places: list[Place],
        tensors: Mapping[str, str],
        what: str,
        backend: Backend = on_onnxruntime,
    ) -> None:
        """`tensors` says which tensor of the graph stands for a place's result."""
        self._runs = []
        for chunk in chunks(places):
            names = [place.result for place in chunk]
            run = backend(tapped(graph, [tensors[name] for name in names]), what)
            self._runs.append((names, run))

    def run(self, frame: NDArray[np.uint8]) -> Iterator[tuple[str, Floats]]:
        """Result name and its value [C, h, w], in depth order, a chunk at a time in memory."""
        for names, run in self._runs:
            for name, value in zip(names, run({INPUT: frame[None]}), strict=True):
                yield name, value[0]


class CutGraph:
    """A graph's layers, each by itself: it reads what others computed, so its error is its own."""

    def __init__(
        self,
        pieces: Pieces,
        places: list[Place],
        known: Iterable[str],
        what: str,
        backend: Backend = on_onnxruntime,
    ) -> None:
        """`known` are the results that `run` will get; pieces that read others are left out."""
        self._frame = pieces.model.graph.input[0].name
        shapes, readable = shapes_of(pieces.model), {*known, self._frame}
        every = {piece.layer.result: piece for piece in pieces.every()}
        found = [
            [every[p.result] for p in chunk if _reads(every[p.result]) <= readable]
            for chunk in chunks(places)
        ]
        self._parts = []
        for chunk in filter(None, found):
            model = cut(pieces, chunk, shapes)
            inputs = [value.name for value in model.graph.input]
            self._parts.append((chunk, inputs, backend(model, what)))

    def run(
        self, frame: NDArray[np.uint8], results: Mapping[str, Floats]
    ) -> Iterator[tuple[str, Floats]]:
        """Result name and what the layer makes of other layers' `results` [C, h, w]."""
        for chunk, inputs, run in self._parts:
            read = (frame if name == self._frame else results[name] for name in inputs)
            feed = {name: array[None] for name, array in zip(inputs, read, strict=True)}
            for piece, value in zip(chunk, run(feed), strict=True):
                yield piece.layer.result, value[0]


def _reads(piece: Piece) -> set[str]:
    """The float tensors and frames that a piece's nodes read."""
    return {n for node in piece.nodes for n in node.input if n and not n.startswith(PREFIX)}


def tapped(graph: ModelProto, tensors: list[str]) -> ModelProto:
    """A copy whose outputs are these tensors in FP32; what leads to none of them is left out."""
    result = ModelProto()
    result.CopyFrom(graph)
    types = element_types(graph)
    del result.graph.output[:]
    for tensor in tensors:
        name = tensor
        if types.get(tensor) == TensorProto.FLOAT16:
            name = f"{tensor}:tap"
            cast = helper.make_node("Cast", [tensor], [name], name, to=TensorProto.FLOAT)
            result.graph.node.append(cast)
        result.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    _prune(result)
    return result


def cut(pieces: Pieces, found: list[Piece], shapes: Mapping[str, tuple[int, ...]]) -> ModelProto:
    """These pieces alone: their inputs are float results by name, their outputs rounded results."""
    model = pieces.graft(found)
    graph = model.graph
    own = [node for node in graph.node if node.name.startswith(PREFIX)]
    made = {name for node in own for name in node.output} | {t.name for t in graph.initializer}
    read = dict.fromkeys(name for node in own for name in node.input if name and name not in made)
    del graph.node[:], graph.output[:]
    graph.node.extend(own)
    kept = [value for value in graph.input if value.name in read]
    del graph.input[:]
    graph.input.extend(kept)
    known = {value.name for value in kept}
    for values, names in (
        (graph.input, [(name, name) for name in read if name not in known]),
        (graph.output, [(piece.rounded, piece.layer.result) for piece in found]),
    ):
        for name, shaped in names:
            values.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shapes[shaped]))
    _prune(model)
    return model


def _prune(model: ModelProto) -> None:
    """Remove nodes and initializers that lead to no output."""
    wiring = Wiring(model)
    pending, needed = [value.name for value in model.graph.output], dict[int, NodeProto]()
    while pending:
        node = wiring.producer.get(pending.pop())
        if node is not None and id(node) not in needed:
            needed[id(node)] = node
            pending.extend(node.input)
    nodes = [node for node in wiring.nodes if id(node) in needed]
    read = {name for node in nodes for name in node.input}
    constants = [tensor for tensor in model.graph.initializer if tensor.name in read]
    del model.graph.node[:], model.graph.initializer[:], model.graph.value_info[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(constants)
