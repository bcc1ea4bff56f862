"""How noisy the logits would be if some layers stayed in float: a guess, to try good sets first.

Noise powers that single layers cause at the logits nearly add up: for the bundled model on three
CamVid frames the sum over its layers predicts 33.1 dB (u8) and 31.3 (s8), where 33.5 and 31.3 were
measured. A convolution in float saves the part that comes from its weights. The rounding of a
result is saved only when nobody asks for it any more: on the CPU its maker and its readers do, on
TensorRT only convolutions that read it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from onnx import ModelProto

from calibration.graphs.pieces import Layer, layers
from calibration.graphs.placement import Flavour
from calibration.graphs.qdq import PRESETS
from calibration.graphs.wiring import Wiring, quantized_convolutions
from calibration.sensitivity import LayerError


class NoiseModel:
    """Noise power at the logits, as a share of their power.

    Args:
        graph: The float graph.
        int8: The pure INT8 graph of `flavour`.
        errors: The ranking of its layers.
    """

    def __init__(
        self, graph: ModelProto, int8: ModelProto, flavour: Flavour, errors: Sequence[LayerError]
    ) -> None:
        self.names = quantized_convolutions(int8)
        self._wiring, self._flavour = Wiring(graph), flavour
        powers = {row.name: 10 ** (-row.logits_db / 10) for row in errors}
        shares = {row.name: row.from_weights for row in errors}
        self._weights = {name: powers[name] * shares[name] for name in powers}
        self._rounding = {
            layer.node.name: (powers[layer.node.name] - self._weights[layer.node.name], askers)
            for layer in layers(graph)
            if layer.node.name in powers and (askers := self._askers(layer))
        }

    def saved(self, kept: Collection[str]) -> float:
        """The noise power that goes when these convolutions are in float."""
        weights = sum(self._weights[name] for name in kept)
        rounding = sum(p for p, askers in self._rounding.values() if askers <= set(kept))
        return weights + rounding

    def _askers(self, layer: Layer) -> set[str]:
        """The nodes for whose sake a layer's result is rounded."""
        nodes = list(self._wiring.consumers[layer.result])
        if self._flavour == "u8":
            nodes.append(layer.node)
        integer = PRESETS[self._flavour].operators
        return {
            node.name
            for node in nodes
            if node.op_type in integer and (node.op_type != "Conv" or node.name in self.names)
        }
