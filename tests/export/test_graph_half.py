"""FP16 graphs: types, numbers, scales, and that TensorRT for RTX takes them."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto
from torch import nn

from calibration.graphs.execution import load
from calibration.graphs.qdq import quantize
from calibration.graphs.validator import SMALLEST_NORMAL_HALF, validate_s8
from calibration.graphs.wiring import Wiring
from calibration.ranges.observe import observe
from calibration.ranges.tally import Range
from engines.spec import ModelSpec
from export.half import LARGEST_HALF, largest_activation, to_half
from export.parity import measure
from export.plans.builder import build_plan
from export.plans.library import load_library
from export.plans.settings import BuildSettings


class Small(Protocol):
    model: nn.Module
    spec: ModelSpec
    graph: ModelProto
    frames: list[NDArray[np.uint8]]


@pytest.fixture(scope="module")
def ranges(small: Small) -> dict[str, Range]:
    return observe(small.graph, small.frames)


@pytest.fixture(scope="module")
def half_s8(small: Small, ranges: dict[str, Range]) -> ModelProto:
    return to_half(quantize(small.graph, ranges, "s8"))


def test_weights_are_half_and_both_ends_are_not(small: Small) -> None:
    half = to_half(small.graph)
    assert half.graph.input[0].type.tensor_type.elem_type == TensorProto.UINT8
    assert half.graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT
    kinds = {t.name: t.data_type for t in half.graph.initializer}
    assert kinds["backbone.conv_stem.weight"] == TensorProto.FLOAT16
    assert TensorProto.FLOAT not in kinds.values()
    assert half.ByteSize() < 0.6 * small.graph.ByteSize()


def test_the_float_graph_is_left_alone(small: Small) -> None:
    before = small.graph.SerializeToString(deterministic=True)
    to_half(small.graph)
    assert small.graph.SerializeToString(deterministic=True) == before


def test_half_labels_are_nearly_the_float_ones(small: Small) -> None:
    parity = measure(to_half(small.graph), small.model, small.frames)
    assert parity.label_agreement > 0.999


def test_normalisation_is_fine_in_half(small: Small) -> None:
    """Every grey level of every channel, with ImageNet's odd means, against float64."""
    levels = torch.arange(256).view(1, 1, 1, 256).expand(1, 3, 1, 256)
    mean, std = (small.model.get_buffer(f"normalise.{name}") for name in ("mean", "std"))
    exact = (levels.double() - mean) / std
    found = (levels.half() - mean.half()) / std.half()
    grey_levels = (found.double() - exact).abs() * std
    assert float(grey_levels.max()) < 0.2


def test_scales_become_half_and_stay_normal(half_s8: ModelProto) -> None:
    validate_s8(half_s8)
    wiring = Wiring(half_s8)
    scales = [
        wiring.value(node.input[1]) for node in wiring.nodes if node.op_type == "QuantizeLinear"
    ]
    assert len(scales) > 30
    assert {scale.dtype for scale in scales} == {np.dtype(np.float16)}


def test_a_dead_channel_keeps_a_normal_scale(small: Small, ranges: dict[str, Range]) -> None:
    """Weights of 1e-7 would get a scale of 8e-10, which is zero in FP16."""
    graph = ModelProto()
    graph.CopyFrom(small.graph)
    name = "decoder.refine.1.pointwise.weight"
    (tensor,) = (item for item in graph.graph.initializer if item.name == name)
    weight = np.frombuffer(tensor.raw_data, np.float32).reshape(tensor.dims).copy()
    weight[3] = 1e-7
    tensor.raw_data = weight.tobytes()
    half = to_half(quantize(graph, ranges, "s8"))
    validate_s8(half)
    scale = Wiring(half).value(f"{name}_scale")
    assert scale[3] >= SMALLEST_NORMAL_HALF
    assert scale[2] != scale[3]


def test_half_scales_add_less_noise_than_the_quantization(
    small: Small, ranges: dict[str, Range], half_s8: ModelProto
) -> None:
    graphs = [load(graph) for graph in (small.graph, quantize(small.graph, ranges, "s8"), half_s8)]
    exact, quantized, half = (
        np.stack([graph.run(None, {"frames": frame[None]})[0] for frame in small.frames])
        for graph in graphs
    )
    assert (half - quantized).std() < (quantized - exact).std() < 0.15 * exact.std()


def test_the_largest_activation_is_far_below_the_largest_half(ranges: dict[str, Range]) -> None:
    name, value = largest_activation(ranges)
    assert value == max(abs(x) for x in ranges[name])
    assert value < LARGEST_HALF / 100


@pytest.mark.tensorrt
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8", "int8-rtx"])
def test_tensorrt_for_rtx_builds_it_in_the_precision_asked_for(
    small: Small, ranges: dict[str, Range], half_s8: ModelProto, precision: str
) -> None:
    graphs = {
        "fp32": lambda: small.graph,
        "fp16": lambda: to_half(small.graph),
        "int8": lambda: half_s8,
        "int8-rtx": lambda: to_half(quantize(small.graph, ranges, "s8", target="tensorrt-rtx")),
    }
    graph = graphs[precision]().SerializeToString()
    plan = build_plan(load_library("tensorrt-rtx"), graph, BuildSettings("fp16"))
    main = {"fp32": "FP32", "fp16": "FP16"}.get(precision, "INT8")
    assert plan.convolutions[main] == max(plan.convolutions.values())
