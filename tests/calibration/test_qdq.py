"""The Q/DQ writer: both flavours, their presets, and that our ranges are what is written."""

from __future__ import annotations

import copy
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from calibration.graphs.execution import load
from calibration.graphs.placement import Flavour
from calibration.graphs.qdq import quantize
from calibration.graphs.validator import inspect_s8
from calibration.graphs.wiring import Wiring
from calibration.ranges.observe import observe
from calibration.ranges.tally import Range
from engines.failures import Refused
from engines.onnxruntime_session import DISABLED_OPTIMIZERS

Frames = list[NDArray[np.uint8]]
Ranges = dict[str, Range]


@pytest.fixture(scope="module")
def ranges(miniature: ModelProto, frames: Frames) -> Ranges:
    return observe(miniature, frames)


def sqnr(model: ModelProto, reference: ModelProto, frames: Frames) -> float:
    """Signal to quantization noise of the logits over all frames, in dB."""
    graphs = [load(graph) for graph in (reference, model)]
    wanted, found = (
        np.stack([graph.run(None, {"frames": frame[None]})[0] for frame in frames])
        for graph in graphs
    )
    return float(10 * np.log10((wanted**2).mean() / ((wanted - found) ** 2).mean()))


def dequantized(tensor: str, wiring: Wiring) -> bool:
    return tensor in wiring.producer and wiring.producer[tensor].op_type == "DequantizeLinear"


def node(model: ModelProto, name: str) -> NodeProto:
    found: list[NodeProto] = [item for item in model.graph.node if item.name == name]
    return found[0]


@pytest.mark.parametrize(("flavour", "decibel"), [("u8", 28), ("s8", 28)])
def test_the_quantized_network_is_close_to_the_float_one(
    miniature: ModelProto, frames: Frames, ranges: Ranges, flavour: Flavour, decibel: float
) -> None:
    assert sqnr(quantize(miniature, ranges, flavour), miniature, frames) > decibel


@pytest.mark.parametrize("flavour", ["u8", "s8"])
def test_equal_input_gives_equal_bytes_and_leaves_it_alone(
    miniature: ModelProto, ranges: Ranges, flavour: Flavour
) -> None:
    before = miniature.SerializeToString(deterministic=True)
    first, second = (quantize(miniature, ranges, flavour) for _ in range(2))
    assert first.SerializeToString(deterministic=True) == second.SerializeToString(
        deterministic=True
    )
    assert miniature.SerializeToString(deterministic=True) == before
    assert not first.metadata_props


@pytest.mark.parametrize("flavour", ["u8", "s8"])
def test_the_ranges_are_the_ones_given(
    miniature: ModelProto, frames: Frames, ranges: Ranges, flavour: Flavour
) -> None:
    wide = ranges | {"wide/Clip": (0.0, 600.0)}
    good, bad = (quantize(miniature, r, flavour) for r in (ranges, wide))
    assert sqnr(bad, miniature, frames) < sqnr(good, miniature, frames) - 6
    steps = {"u8": 255, "s8": 127}[flavour]
    scale = Wiring(bad).value("wide/Clip_scale")
    assert scale == pytest.approx(600 / steps, rel=1e-6)


def test_u8_runs_every_convolution_in_an_integer_kernel(
    miniature: ModelProto, ranges: Ranges, tmp_path: Path
) -> None:
    kinds = optimized(quantize(miniature, ranges, "u8"), tmp_path)
    convolutions = sum(item.op_type == "Conv" for item in miniature.graph.node)
    assert kinds["QLinearConv"] == convolutions
    assert kinds["Conv"] == kinds["FusedConv"] == kinds["Clip"] == 0
    assert kinds["QLinearAdd"] == 1
    assert kinds["QLinearConcat"] == 2
    assert kinds["Cast"] == kinds["Sub"] == kinds["Div"] == 0  # the frame's bytes are the codes


def optimized(model: ModelProto, folder: Path) -> Counter[str]:
    """The operators that onnxruntime really runs."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    onnxruntime.InferenceSession(
        model.SerializeToString(),
        options,
        providers=["CPUExecutionProvider"],
        disabled_optimizers=list(DISABLED_OPTIMIZERS),
    )
    return Counter(item.op_type for item in onnx.load(folder / "optimized.onnx").graph.node)


def test_u8_concatenates_with_one_scale(miniature: ModelProto, ranges: Ranges) -> None:
    wiring = Wiring(quantize(miniature, ranges, "u8"))
    concat = next(item for item in wiring.nodes if item.name == "decoder/Concat")
    sources = [wiring.producer[tensor] for tensor in concat.input]
    scales = {float(wiring.value(source.input[1])) for source in sources}
    quantizer = wiring.consumers["decoder/Concat"][0]
    assert scales == {float(wiring.value(quantizer.input[1]))}


@pytest.mark.parametrize("weights", [0.0, 1e-42])
def test_a_dead_channel_keeps_its_bias(
    miniature: ModelProto, frames: Frames, weights: float
) -> None:
    model = copy.deepcopy(miniature)
    constants = Wiring(model).constants
    for name in ("stem", "wide"):
        weight, bias = (constants[f"{name}.{part}"] for part in ("weight", "bias"))
        parts = numpy_helper.to_array(weight).copy(), numpy_helper.to_array(bias).copy()
        parts[0][3] = weights
        parts[1][[3, 4]] = 0.4, 1e-42
        for tensor, value in zip((weight, bias), parts, strict=True):
            tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
    ranges = observe(model, frames)
    int8 = quantize(model, ranges, "u8")
    assert sqnr(int8, model, frames) > 28
    wiring = Wiring(int8)
    for name in ("stem", "wide"):
        source = wiring.dequantizer(node(int8, f"{name}/Conv").input[2])
        assert source is not None
        codes, scales = (wiring.value(part).astype(np.float64) for part in source.input[:2])
        assert (codes * scales)[3] == pytest.approx(0.4, rel=1e-6)


def test_a_concat_without_a_range_of_its_own_is_quantized_by_what_follows(
    miniature: ModelProto, frames: Frames
) -> None:
    """Foreign graphs join shapes, and maps that only a Relu reads."""
    model = copy.deepcopy(miniature)
    node(model, "refine/Conv").input[0] = "joined/Relu"
    relu = helper.make_node("Relu", ["decoder/Concat"], ["joined/Relu"], "joined/Relu")
    place = list(model.graph.node).index(node(model, "refine/Conv"))
    model.graph.node.insert(place, relu)
    for name, part in (("size.0", [1, 24]), ("size.1", [8, 12])):
        model.graph.initializer.append(numpy_helper.from_array(np.array(part, np.int64), name))
    node(model, "decoder/Resize").input[3] = "joined.size"
    joined = helper.make_node("Concat", ["size.0", "size.1"], ["joined.size"], "joined", axis=0)
    model.graph.node.insert(0, joined)
    ranges = observe(model, frames)
    assert "decoder/Concat" not in ranges
    assert sqnr(quantize(model, ranges, "u8"), model, frames) > 28


def test_s8_is_what_tensorrt_wants(miniature: ModelProto, ranges: Ranges) -> None:
    model = quantize(miniature, ranges, "s8")
    assert inspect_s8(model) == []
    for item in model.graph.initializer:
        if item.name.endswith("_zero_point"):
            assert item.data_type == TensorProto.INT8
        assert item.data_type != TensorProto.INT32


def test_s8_stores_weights_as_int8_with_one_scale_per_channel(
    miniature: ModelProto, ranges: Ranges
) -> None:
    wiring = Wiring(quantize(miniature, ranges, "s8"))
    for name, channels in (("wide", 48), ("atrous", 48)):
        convolution = next(item for item in wiring.nodes if item.name == f"{name}/Conv")
        dequantize = wiring.producer[convolution.input[1]]
        assert wiring.constants[dequantize.input[0]].data_type == TensorProto.INT8
        assert wiring.shape(dequantize.input[1]) == (channels,)


@pytest.mark.parametrize("flavour", ["u8", "s8"])
def test_one_scale_per_weight_and_plain_rounding_are_worse(
    miniature: ModelProto, frames: Frames, ranges: Ranges, flavour: Flavour
) -> None:
    naive = quantize(miniature, ranges, flavour, per_channel=False, keep_sums=False)
    wiring = Wiring(naive)
    for name in ("wide", "atrous", "branch"):
        dequantize = wiring.producer[node(naive, f"{name}/Conv").input[1]]
        codes, scale = (wiring.value(item).astype(float) for item in dequantize.input[:2])
        weight = Wiring(miniature).value(f"{name}.weight").astype(float)
        assert scale == pytest.approx(np.abs(weight).max() / 127, rel=1e-6)
        np.testing.assert_allclose(codes, np.rint(weight / scale), atol=1)
    assert sqnr(naive, miniature, frames) < sqnr(
        quantize(miniature, ranges, flavour), miniature, frames
    )
    if flavour == "s8":
        assert inspect_s8(naive) == []


def test_s8_quantizes_the_identity_of_a_residual_alone(
    miniature: ModelProto, ranges: Ranges
) -> None:
    wiring = Wiring(quantize(miniature, ranges, "s8"))
    add = next(item for item in wiring.nodes if item.name == "residual/Add")
    branch, identity = add.input
    assert branch == "linear/Conv"
    assert dequantized(identity, wiring)


def test_s8_leaves_outputs_of_convolutions_unquantized(
    miniature: ModelProto, ranges: Ranges
) -> None:
    model = quantize(miniature, ranges, "s8")
    wiring = Wiring(model)
    for name in ("stem", "wide", "project"):
        (reader,) = wiring.consumers[f"{name}/Conv"]
        assert reader.op_type in ("Clip", "Relu")


@pytest.mark.parametrize("name", ["stem", "classifier", "pooling"])
def test_s8_keeps_first_last_and_pooling_in_float(
    miniature: ModelProto, ranges: Ranges, name: str
) -> None:
    model = quantize(miniature, ranges, "s8")
    convolution = node(model, f"{name}/Conv")
    assert convolution.input[1] == f"{name}.weight"
    assert not dequantized(convolution.input[0], Wiring(model))


def test_s8_leaves_resize_in_float(miniature: ModelProto, ranges: Ranges) -> None:
    model = quantize(miniature, ranges, "s8")
    assert node(model, "decoder/Resize").input[0] == "project/Relu"


def test_depthwise_stays_float_for_rtx_alone(miniature: ModelProto, ranges: Ranges) -> None:
    for target, quantized in ((None, True), ("tensorrt", True), ("tensorrt-rtx", False)):
        model = quantize(miniature, ranges, "s8", target=target)
        assert dequantized(node(model, "atrous/Conv").input[1], Wiring(model)) is quantized
        assert inspect_s8(model) == []


@pytest.mark.parametrize("flavour", ["u8", "s8"])
def test_excluded_nodes_stay_float_and_gain_accuracy(
    miniature: ModelProto, frames: Frames, ranges: Ranges, flavour: Flavour
) -> None:
    names = [
        item.name
        for item in miniature.graph.node
        if item.op_type == "Conv" and item.name not in ("wide/Conv", "stem/Conv")
    ]
    model = quantize(miniature, ranges, flavour, exclude=names)
    assert node(model, "refine/Conv").input[1] == "refine.weight"
    whole = quantize(miniature, ranges, flavour)
    assert sqnr(model, miniature, frames) > sqnr(whole, miniature, frames) + 1


def test_s8_float_nodes_read_the_float_tensor(miniature: ModelProto, ranges: Ranges) -> None:
    model = quantize(miniature, ranges, "s8", exclude=["detail/Conv"])
    wiring = Wiring(model)
    assert dequantized(node(model, "wide/Conv").input[0], wiring)  # reads the same tensor
    assert node(model, "detail/Conv").input[0] == "point/Conv"
    assert inspect_s8(model) == []


def test_ranges_of_another_network_are_refused(miniature: ModelProto, ranges: Ranges) -> None:
    fewer = {name: span for name, span in ranges.items() if not name.startswith("expand")}
    with pytest.raises(Refused, match=r"lack expand/Clip.*another network"):
        quantize(miniature, fewer, "u8")


def test_an_unknown_node_to_exclude_is_refused(miniature: ModelProto, ranges: Ranges) -> None:
    with pytest.raises(Refused, match="no node 'decoder/Typo'"):
        quantize(miniature, ranges, "s8", exclude=["decoder/Typo"])
