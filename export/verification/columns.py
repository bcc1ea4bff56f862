"""One column of the comparison: what one graph makes of every layer, against the reference.

Two errors for each layer. `whole` is what has added up to there when the graph runs as it is; `own`
is the layer's alone, when it reads what the reference has in that place. The first says what the
masks suffer, the second who did it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from calibration.graphs.pieces import Pieces
from engines.failures import GateFailed
from export.verification.backends import Backend, on_onnxruntime
from export.verification.difference import Difference, Floats
from export.verification.graphs import Candidate
from export.verification.onnx_taps import CutGraph, TappedGraph
from export.verification.places import Place

Frame = NDArray[np.uint8]
Results = Mapping[str, Floats]  # tensor name -> [C, h, w]


class Column(Protocol):
    """Errors of one graph, summed over frames."""

    name: str
    whole: dict[str, Difference]
    own: dict[str, Difference]

    def add(self, frame: Frame, reference: Results) -> None:
        """Count one more frame; `reference` has every layer's result."""
        ...


class Reference(Protocol):
    """What has every layer's result for a frame."""

    def results(self, frame: Frame) -> Results: ...


class OnnxReference:
    """A float graph as the reference: where there is no checkpoint, or channels have moved."""

    def __init__(self, graph: ModelProto, places: list[Place]) -> None:
        tensors = {place.result: place.result for place in places}
        self._graph = TappedGraph(graph, places, tensors, "FP32")

    def results(self, frame: Frame) -> Results:
        """Every layer's result."""
        return dict(self._graph.run(frame))


class GraphColumn:
    """A reduced ONNX graph in onnxruntime, or in the engine of another target."""

    def __init__(
        self,
        candidate: Candidate,
        places: list[Place],
        target: str = "cpu",
        backend: Backend = on_onnxruntime,
    ) -> None:
        """A TensorRT plan is tapped where blocks end, and not cut into layers: a layer by itself
        would be another plan."""
        self.name = candidate.name if target == "cpu" else f"{candidate.name} on {target}"
        self.whole, self.own = differences(places), differences(places)
        pieces = Pieces(candidate.origin, candidate.graph)
        tensors = {layer.result: pieces.tap(layer) for layer in pieces.layers}
        gpu = target.startswith("tensorrt")
        chosen = block_ends(places) if gpu else places
        self._tapped = TappedGraph(candidate.graph, chosen, tensors, self.name, backend)
        known = [place.result for place in places]
        self._cut = None if gpu else CutGraph(pieces, places, known, self.name, backend)
        self._factors = {
            place.result: candidate.factors[place.name][:, None, None]
            for place in places
            if place.name in candidate.factors
        }
        # Absorbed biases make other results, which its own float graph has.
        self._origin = OnnxReference(candidate.origin, places) if candidate.moved else None

    def add(self, frame: Frame, reference: Results) -> None:
        """Count one more frame."""
        expected = self._origin.results(frame) if self._origin else self._scaled(reference)
        for result, found in self._tapped.run(frame):
            count(self.whole[result], expected[result], found, result, self.name)
        for result, found in self._cut.run(frame, expected) if self._cut else ():
            count(self.own[result], expected[result], found, result, self.name)

    def _scaled(self, reference: Results) -> Results:
        """The reference with its channels scaled as equalisation scaled the graph's."""
        return dict(reference) | {n: reference[n] / f for n, f in self._factors.items()}


def block_ends(places: list[Place]) -> list[Place]:
    """The last layer of each block."""
    following = [*(place.block for place in places[1:]), None]
    return [place for place, block in zip(places, following, strict=True) if place.block != block]


def differences(places: list[Place]) -> dict[str, Difference]:
    """An empty sum for every place."""
    return {place.result: Difference(place.ring) for place in places}


def count(difference: Difference, expected: Floats, found: Floats, result: str, name: str) -> None:
    """Add a pair; a result of another shape fails the gate there and then."""
    if expected.shape != found.shape:
        raise GateFailed(
            f"first layer that breaks: {result} is {list(found.shape)} in the {name} graph and "
            f"{list(expected.shape)} in the network; build the bundle again with "
            "python export/build_engine.py"
        )
    difference.add(expected, found)
