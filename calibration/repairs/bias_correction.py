"""Bias correction: what rounding weights adds to the mean of a result is taken off the bias.

A shifted mean, unlike noise, survives every later average. With the rounding error E = w' - w of a
convolution's weights and its input x on real frames, mean(E * x) is the shift of each channel
(Nagel et al. 2019, arXiv 1906.04721, section 4.2). E * x is a convolution, too, so it is computed
as one, borders included: each convolution gets a twin with the weights E on the same float input.

MobileNetV2 with 0.3's weights, SQNR of the logits (12 CamVid frames to correct on, 12 others to
measure on), u8 / s8: 33.8 -> 35.3 / 31.7 -> 32.7 dB, with one scale per weight 23.4 -> 25.7 / 23.3
-> 25.8. On 6 + 6 frames in u8: with plain rounding 28.7 -> 33.9, with both 12.3 -> 19.2.

The textbook's way takes a pass for each convolution, with rounded activations and all earlier
corrections in place: 35.7 dB on those 6 frames where this gave 35.8, for 66 passes instead of one.
Several convolutions in a pass of that kind count a shift again in every layer that it runs through:
with 16 in a pass 1.3 dB were left.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, numpy_helper

from calibration.graphs.placement import Flavour
from calibration.graphs.qdq import prepared, quantize
from calibration.graphs.wiring import Wiring
from calibration.ranges.channels import channel_means
from calibration.ranges.tally import Range
from calibration.scheme import Scheme
from engines.failures import Refused
from engines.ranges import Channels
from scenes.dataset import Frame


def bias_corrections(
    graph: ModelProto,
    ranges: Mapping[str, Range],
    frames: Sequence[Frame],
    flavour: Flavour,
    scheme: Scheme,
) -> Channels:
    """What to add to the bias of each convolution that `flavour` quantizes, per channel.

    One pass over the frames, in any order.
    """
    int8 = quantize(
        graph, ranges, flavour, per_channel=scheme.per_channel, keep_sums=scheme.keep_sums
    )
    float_graph, _ = prepared(graph, ranges, flavour)
    twins = _add_twins(float_graph, stored_weights(int8))
    means = channel_means(float_graph, list(twins.values()), frames)
    channels = _channels(graph)
    return {  # a first convolution on blocks of columns gives each channel once per column
        name: (-means[twin].reshape(-1, channels[name]).mean(axis=0)).tolist()
        for name, twin in twins.items()
    }


def add_biases(graph: ModelProto, biases: Mapping[str, Sequence[float]]) -> None:
    """Add to the biases of convolutions, in place.

    A name that is no convolution's here, or another number of channels, raises `Refused`.
    """
    check_channels(graph, biases, "biases")
    wiring = Wiring(graph)
    for node in wiring.nodes:
        if node.name in biases:
            _set_bias(graph, node, wiring, np.asarray(biases[node.name]))


def check_channels(graph: ModelProto, values: Mapping[str, Sequence[float]], what: str) -> None:
    """Raise `Refused` unless each name is a convolution's and has a value per output channel."""
    channels = _channels(graph)
    for name, numbers in values.items():
        if channels.get(name) != len(numbers):
            raise Refused(
                f"there are {len(numbers)} calibrated {what} for {name}, which has "
                f"{channels.get(name, 'no')} channels in this graph: they belong to another "
                "network; calibrate again with --data"
            )


def stored_weights(int8: ModelProto) -> dict[str, NDArray[np.float64]]:
    """Convolution node -> its weights [C, ...] as rounded, for those whose weights are INT8."""
    wiring = Wiring(int8)
    result = {}
    for node in wiring.nodes:
        source = wiring.dequantizer(node.input[1]) if node.op_type == "Conv" else None
        if source is not None:
            codes, scale = (wiring.value(name).astype(np.float64) for name in source.input[:2])
            result[node.name] = codes * scale.reshape(-1, *[1] * (codes.ndim - 1))
    return result


def _add_twins(graph: ModelProto, rounded: Mapping[str, NDArray[np.float64]]) -> dict[str, str]:
    """Give convolutions twins that convolve with w' - w and no bias, in place: name -> twin."""
    wiring = Wiring(graph)
    twins = {}
    for node in wiring.nodes:
        if node.name in rounded:
            twin = twins[node.name] = f"{node.name}.rounding"
            error = rounded[node.name] - wiring.value(node.input[1]).astype(np.float64)
            weight = numpy_helper.from_array(error.astype(np.float32), f"{twin}.weight")
            graph.graph.initializer.append(weight)
            copied = copy.deepcopy(node)
            del copied.input[1:], copied.output[:]
            copied.input.append(weight.name)
            copied.output.append(twin)
            copied.name = twin
            graph.graph.node.append(copied)
    return twins


def _channels(graph: ModelProto) -> dict[str, int]:
    wiring = Wiring(graph)
    return {
        node.name: wiring.shape(node.input[1])[0]
        for node in wiring.nodes
        if node.op_type == "Conv" and node.input[1] in wiring.constants
    }


def _set_bias(
    graph: ModelProto, node: NodeProto, wiring: Wiring, added: NDArray[np.float64]
) -> None:
    """Write a convolution's bias anew where it had none or shares it with another one."""
    before = wiring.value(node.input[2]) if len(node.input) == 3 else np.zeros(len(added))
    value = np.asarray(before.astype(np.float64) + added, np.float32)
    if len(node.input) == 3 and len(wiring.consumers[node.input[2]]) == 1:
        tensor = wiring.constants[node.input[2]]
        tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
        return
    own = numpy_helper.from_array(value, f"{node.name}.bias")
    graph.graph.initializer.append(own)
    del node.input[2:]
    node.input.append(own.name)
