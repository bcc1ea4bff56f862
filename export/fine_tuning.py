"""A checkpoint opened for quantization-aware training, and stored again with its learned ranges.

The places of the fake quantisers are read off the Q/DQ graph that our own writer makes of the
exported checkpoint, so there is no second list of them. The flavour is `s8`, TensorRT's: its
symmetric grid is the coarser one (after a ReLU 128 codes instead of 256), so `u8`, which gets the
same ranges, rounds each tensor that was trained at half the step.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from onnx import ModelProto, numpy_helper
from torch import Tensor, nn

from calibration.calibrate import TOOLS
from calibration.frames import RECOMMENDED, CalibrationFrames
from calibration.graphs.placement import is_depthwise
from calibration.graphs.qdq import SMALLEST_RANGE, quantize
from calibration.graphs.validator import QUANTIZERS
from calibration.graphs.wiring import Wiring
from calibration.ranges.observe import observe
from calibration.ranges.tally import Range
from engines.preprocess import VERSION
from engines.ranges import Ranges, RangesKey
from engines.spec import ModelSpec
from export.graph import export_graph
from train.checkpoint import save_checkpoint
from train.deployable import Deployable
from train.fold import batch_norms, fill_folded
from train.network import Network
from train.qat import FakeQuantised, Places

METHOD = "qat"  # in the ranges' key, and so in reports


@dataclass(frozen=True)
class FineTuning:
    """A network to train, its spec, and what it takes to store it as a checkpoint again."""

    network: FakeQuantised
    spec: ModelSpec
    family: Network
    graph: ModelProto
    frames: CalibrationFrames

    def save(self, path: Path, network: nn.Module, spec: ModelSpec) -> None:
        """Write checkpoint, spec and ranges: learned ones where the network learned them, else
        what the training frames span now."""
        assert isinstance(network, FakeQuantised)
        weights = network.weights()
        fill_folded(self.family, weights, batch_norms(self.family, spec.input_size))
        save_checkpoint(path, self.family, spec)
        observed = observe(with_weights(self.graph, weights), self.frames)
        ranges = learned_ranges(observed, network)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        key = RangesKey(digest, spec.fingerprint(), VERSION, self.frames.digest(), METHOD)
        tools = {name: importlib.metadata.version(name) for name in ("torch", *TOOLS)}
        Ranges(key, len(self.frames), ranges, tools).save(path.with_suffix(".ranges.json"))


def open_fine_tuning(
    family: Network, spec: ModelSpec, crop: tuple[int, int], data: str, split: str
) -> FineTuning:
    """Export a trained network for its input size and for training crops, and put fake quantisers
    where the Q/DQ writer puts pairs, calibrated on frames of `data`."""
    frames = CalibrationFrames.open(data, split, spec.input_size, RECOMMENDED)
    sizes = dict.fromkeys((spec.input_size, crop))
    model = Deployable(family, spec).eval()
    graphs = [export_graph(model, replace(spec, input_size=size)) for size in sizes]
    quantized = quantize(graphs[0], observe(graphs[0], frames), "s8")
    network = FakeQuantised(graphs, find_places(graphs[0], quantized))
    return FineTuning(network, spec, family, graphs[0], frames)


def find_places(graph: ModelProto, quantized: ModelProto) -> Places:
    """Where the Q/DQ copy `quantized` of a float graph quantizes; both name nodes alike."""
    wiring, original = Wiring(quantized), Wiring(graph)
    depthwise = {node.name for node in original.nodes if is_depthwise(node, original)}
    activations, weights, steps = set[tuple[str, int]](), dict[str, bool](), dict[str, float]()
    for node in wiring.nodes:
        for slot, tensor in enumerate(node.input):
            source = wiring.producer.get(tensor)
            if node.op_type in QUANTIZERS or source is None or source.op_type not in QUANTIZERS:
                continue
            codes = source.input[0]
            if codes in wiring.constants:
                weights[node.name] = node.name in depthwise
            else:
                activations.add((node.name, slot))
                steps[wiring.producer[codes].input[0]] = float(wiring.value(source.input[1]))
    return Places(frozenset(activations), weights, steps, SMALLEST_RANGE)


def learned_ranges(observed: dict[str, Range], network: FakeQuantised) -> dict[str, Range]:
    """The learned range of each tensor that has one, the observed range of every other."""
    reaches = network.reaches()
    learned = {name: learned_range(observed[name], reach) for name, reach in reaches.items()}
    return observed | learned


def learned_range(observed: Range, reach: float) -> Range:
    """A range whose farther end is `reach` from 0, so that `s8` gets the learned step, and whose
    other end is as far as values go, so that `u8` wastes no codes."""
    low, high = observed
    return (max(low, -reach), reach) if high >= -low else (-reach, min(high, reach))


def with_weights(graph: ModelProto, weights: dict[str, Tensor]) -> ModelProto:
    """A copy of a graph with other weights of the same names."""
    result = ModelProto()
    result.CopyFrom(graph)
    for tensor in result.graph.initializer:
        if tensor.name in weights:
            value = np.ascontiguousarray(weights[tensor.name].numpy())
            tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
    return result
