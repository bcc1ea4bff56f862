"""The two columns that need PyTorch: the exported FP32 graph, and the network in half precision."""

from __future__ import annotations

from collections.abc import Mapping

from onnx import ModelProto

from engines.bundle import Bundle
from export.verification.columns import Frame, Results, count, differences
from export.verification.onnx_taps import TappedGraph
from export.verification.places import Place
from export.verification.torch_taps import TorchNetwork, load_network
from export.verification.windows import Convolution
from train.deployable import Normalise


class Fp32Column:
    """The FP32 graph in onnxruntime against the network in PyTorch.

    A layer's own error: PyTorch's layer reads what the graph computed before it.
    """

    name = "fp32"

    def __init__(self, graph: ModelProto, network: TorchNetwork, places: list[Place]) -> None:
        self.whole, self.own = differences(places), differences(places)
        self._network = network
        self._separable = {place.name for place in places if place.separable}
        tensors = {place.result: place.result for place in places}
        self._tapped = TappedGraph(graph, places, tensors, self.name)
        self.convolutions: Mapping[str, Convolution] = {}  # of the last frame
        self.found: Results = {}

    def add(self, frame: Frame, reference: Results) -> None:
        """Count one more frame."""
        self.found = dict(self._tapped.run(frame))
        for result, found in self.found.items():
            count(self.whole[result], reference[result], found, result, self.name)
        taps = self._network.run(frame, forced=self.found, record=self._separable)
        self.convolutions = taps.convolutions
        for result, found in self.found.items():
            count(self.own[result], taps.results[result], found, result, self.name)


class HalfColumn:
    """The network in half precision on the CPU: every result is rounded to FP16.

    onnxruntime's CPU computes FP16 graphs in FP32, so this, and not its graph, is what FP16
    arithmetic does.
    """

    name = "fp16_torch"

    def __init__(self, network: TorchNetwork, places: list[Place]) -> None:
        self.whole, self.own = differences(places), differences(places)
        self._network = network

    def add(self, frame: Frame, reference: Results) -> None:
        """Count one more frame."""
        for forced, errors in ((None, self.whole), (reference, self.own)):
            results = self._network.run(frame, forced=forced).results
            for result, difference in errors.items():
                count(difference, reference[result], results[result], result, self.name)


class TorchReference:
    """PyTorch's FP32 results."""

    def __init__(self, network: TorchNetwork) -> None:
        self.network = network

    def results(self, frame: Frame) -> Results:
        """Every layer's result."""
        return self.network.run(frame).results


def open_network(bundle: Bundle, places: list[Place]) -> TorchNetwork:
    """The network of a bundle's own checkpoint, with its taps."""
    return TorchNetwork(load_network(bundle), Normalise(bundle.spec), places)
