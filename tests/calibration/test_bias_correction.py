"""Bias correction: the mean shift that rounding weights makes is gone afterwards."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper

from calibration.graphs.placement import Flavour, float_nodes
from calibration.graphs.qdq import quantize
from calibration.graphs.wiring import Wiring
from calibration.ranges.channels import channel_means
from calibration.ranges.observe import Frame, observe
from calibration.repairs.bias_correction import add_biases, bias_corrections, stored_weights
from calibration.scheme import Scheme
from engines.failures import Refused

Frames = list[NDArray[np.uint8]]
Chain = Callable[[str], ModelProto]
PLAIN = Scheme.parse("minmax+plain-rounding+bias")
ROUGH = Scheme.parse("minmax+per-tensor+plain-rounding+bias")


def rounded(model: ModelProto, frames: list[Frame], flavour: Flavour, scheme: Scheme) -> ModelProto:
    """The float graph with the weights that its Q/DQ copy has: no activation is rounded."""
    int8 = quantize(
        model, observe(model, frames), flavour, per_channel=scheme.per_channel, keep_sums=False
    )
    weights = stored_weights(int8)
    result = copy.deepcopy(model)
    for node in result.graph.node:
        if node.name in weights:
            tensor = Wiring(result).constants[node.input[1]]
            if weights[node.name].shape == tuple(tensor.dims):
                value = weights[node.name].astype(np.float32)
                tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
    return result


@pytest.mark.parametrize("scheme", [PLAIN, ROUGH])
def test_the_mean_error_of_a_rounded_layer_vanishes(
    chain: Chain, frames: Frames, scheme: Scheme
) -> None:
    """Of the one layer in s8 that is rounded: the depthwise one, between two in float."""
    model = chain("relu")
    ranges = observe(model, frames)
    corrections = bias_corrections(model, ranges, frames, "s8", scheme)
    assert set(corrections) == {"depth/Conv"}
    wanted = channel_means(model, ["depth/Conv"], frames)["depth/Conv"]
    after = rounded(model, frames, "s8", scheme)
    shifted = channel_means(after, ["depth/Conv"], frames)["depth/Conv"]
    add_biases(after, corrections)
    mended = channel_means(after, ["depth/Conv"], frames)["depth/Conv"]
    assert np.abs(shifted - wanted).max() > 1e-3
    np.testing.assert_allclose(mended, wanted, atol=2e-6)


@pytest.mark.parametrize("flavour", ["u8", "s8"])
def test_means_of_the_logits_come_near_in_the_real_graph(
    miniature: ModelProto, frames: Frames, flavour: Flavour
) -> None:
    ranges = observe(miniature, frames)
    corrected = copy.deepcopy(miniature)
    add_biases(corrected, bias_corrections(miniature, ranges, frames, flavour, ROUGH))
    name = ["refine/Conv"]
    wanted = channel_means(miniature, name, frames)[name[0]]
    before, after = (
        channel_means(
            quantize(graph, ranges, flavour, per_channel=False, keep_sums=False), name, frames
        )[name[0]]
        for graph in (miniature, corrected)
    )
    assert np.abs(after - wanted).mean() < np.abs(before - wanted).mean() / 2


@pytest.mark.parametrize("flavour", ["u8", "s8"])
def test_every_quantized_convolution_is_corrected(
    miniature: ModelProto, frames: Frames, flavour: Flavour
) -> None:
    found = bias_corrections(miniature, observe(miniature, frames), frames, flavour, Scheme())
    kept = float_nodes(miniature, flavour)
    convolutions = {n.name for n in miniature.graph.node if n.op_type == "Conv"}
    assert set(found) == convolutions - set(kept)
    biases = {n.name: n.input[2] for n in miniature.graph.node if n.op_type == "Conv"}
    for name, values in found.items():
        assert (len(values),) == Wiring(miniature).shape(biases[name])


def test_the_first_convolution_on_bytes_gets_the_correction_of_its_float_form(
    chain: Chain, frames: Frames
) -> None:
    """In u8 it reads blocks of four columns, and its padding is half a grey level off zero."""
    model = chain("relu")
    found = bias_corrections(model, observe(model, frames), frames, "u8", PLAIN)["stem/Conv"]
    weight = Wiring(model).value("stem.weight").astype(np.float64)
    step = np.abs(weight).max(axis=(1, 2, 3), keepdims=True) / 127
    after = copy.deepcopy(model)
    value = (np.rint(weight / step) * step).astype(np.float32)
    Wiring(after).constants["stem.weight"].CopyFrom(numpy_helper.from_array(value, "stem.weight"))
    means = [channel_means(graph, ["stem/Conv"], frames)["stem/Conv"] for graph in (model, after)]
    np.testing.assert_allclose(found, means[0] - means[1], rtol=0.03, atol=1e-5)


def test_the_order_of_frames_changes_no_bit(miniature: ModelProto, frames: Frames) -> None:
    ranges = observe(miniature, frames)
    first, second = (
        bias_corrections(miniature, ranges, f, "u8", PLAIN) for f in (frames, frames[::-1])
    )
    assert first == second


def test_a_bias_is_made_or_unshared(chain: Chain, frames: Frames) -> None:
    model = chain("relu")
    stem, depth = (n for n in model.graph.node if n.name in ("stem/Conv", "depth/Conv"))
    depth.input[2] = "stem.bias"
    before = Wiring(model).value("stem.bias")
    del next(n for n in model.graph.node if n.name == "classifier/Conv").input[2]
    add_biases(model, {"depth/Conv": [1.0] * 16, "classifier/Conv": [2.0] * 5})
    wiring = Wiring(model)
    np.testing.assert_array_equal(wiring.value(stem.input[2]), before)
    np.testing.assert_array_equal(wiring.value(depth.input[2]), before + 1)
    classifier = next(n for n in wiring.nodes if n.name == "classifier/Conv")
    np.testing.assert_array_equal(wiring.value(classifier.input[2]), np.full(5, 2, np.float32))
    channel_means(model, ["classifier/Conv"], frames)


@pytest.mark.parametrize(("name", "count"), [("depth/Typo", 16), ("depth/Conv", 15)])
def test_biases_of_another_network_are_refused(chain: Chain, name: str, count: int) -> None:
    with pytest.raises(Refused, match=f"{count} calibrated biases for {name}.*another network"):
        add_biases(chain("relu"), {name: [0.0] * count})
