"""Each family's default, and each kind of trunk, through the whole export: equal, valid, built."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from onnx import ModelProto
from torch import nn

from calibration.graphs.execution import load
from calibration.graphs.placement import Flavour, float_nodes
from calibration.graphs.qdq import quantize
from calibration.graphs.validator import validate_s8
from calibration.graphs.wiring import Wiring
from calibration.ranges.observe import observe
from calibration.ranges.tally import Range
from engines.spec import ModelSpec
from export.contract import INPUT
from export.graph import export_graph
from export.half import to_half
from export.parity import measure
from export.plans.builder import build_plan
from export.plans.library import load_library
from export.plans.settings import BuildSettings
from train.deployable import Deployable
from train.family import Architecture, build_model
from train.layers import Classifier

CLASSES = ("road", "sky", "tree")
QUICK = "deeplabv3_mobilenetv2,width=0.35"
SLOW = [
    "deeplabv1_vgg16",
    "deeplabv2_vgg16",
    "deeplabv2_mobilenetv2,width=0.35",
    "deeplabv3_resnet50",
    "deeplabv3plus_mobilenetv2,width=0.35,dense",
    "deeplabv3plus_mobilenetv3,width=0.75",
    "deeplabv3plus_resnet50",
    "deeplabv3plus_xception41",
    "deeplabv3plus_xception_slim",
]
MEMBERS = [QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]


@dataclass(frozen=True)
class Exported:
    """A network in PyTorch, its FP32 graph, frames, and the ranges observed on them."""

    model: nn.Module
    graph: ModelProto
    frames: list[NDArray[np.uint8]]
    ranges: dict[str, Range]


def sane(network: nn.Module) -> None:
    """Random weights that keep activations near 1: else so deep a network blows roundings up."""
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None  # statistics are the mean over what it sees
            nn.init.ones_(layer.weight)
            nn.init.uniform_(layer.bias, -0.5, 1.5)
        elif isinstance(layer, Classifier):
            nn.init.normal_(layer.weight, std=0.1)
        elif isinstance(layer, nn.Dropout):
            layer.p = 0.0


def export(name: str) -> Exported:
    architecture = Architecture.parse(name)
    spec = ModelSpec(
        name="member",
        architecture=str(architecture),
        classes=CLASSES,
        palette=((0, 0, 0),) * len(CLASSES),
        input_size=(64, 96),
        mean=(127.5, 127.5, 127.5),
        std=(127.5, 127.5, 127.5),
        output_stride=architecture.output_stride(),
        logits_stride=architecture.logits_stride(),
    )
    torch.manual_seed(0)
    model = Deployable(build_model(name, len(CLASSES)), spec)
    sane(model)
    coarse = np.random.default_rng(5).integers(0, 256, (4, 8, 12, 3), np.uint8)
    frames = coarse.repeat(8, axis=1).repeat(8, axis=2)
    with torch.no_grad():
        model.train()(torch.from_numpy(frames))
    model.eval()
    graph = export_graph(model, spec)
    return Exported(model, graph, list(frames), observe(graph, list(frames)))


@pytest.fixture(scope="module", params=MEMBERS)
def member(request: pytest.FixtureRequest) -> Exported:
    """Each member in turn; pytest runs all tests of one before it makes the next."""
    return export(request.param)


def noise(graph: ModelProto, member: Exported) -> float:
    """What a graph's logits are off by, as a share of their standard deviation."""
    session, reference = load(graph), load(member.graph)
    exact, found = (
        np.stack([net.run(None, {INPUT: frame[None]})[0] for frame in member.frames])
        for net in (reference, session)
    )
    return float((found - exact).std() / exact.std())


def test_the_graph_is_the_network(member: Exported) -> None:
    parity = measure(member.graph, member.model, member.frames)
    assert parity.onnx_max_abs < 1e-3
    assert parity.label_agreement > 0.999  # a random network's classes are a rounding apart


def test_half_numbers_move_the_logits_little(member: Exported) -> None:
    assert noise(to_half(member.graph), member) < 0.03


@pytest.mark.parametrize("flavour", ["u8", "s8"])
def test_int8_follows_the_float_network(member: Exported, flavour: Flavour) -> None:
    assert noise(quantize(member.graph, member.ranges, flavour), member) < 0.5


@pytest.mark.parametrize("target", [None, "tensorrt-rtx"])
def test_int8_graphs_pass_the_validator_and_quantize_all_wide_layers(
    member: Exported, target: str | None
) -> None:
    graph = to_half(quantize(member.graph, member.ranges, "s8", target=target))
    validate_s8(graph)
    reasons = float_nodes(member.graph, "s8", target)
    wiring = Wiring(graph)
    for node in graph.graph.node:
        if node.op_type == "Conv":
            producer = wiring.producer[node.input[0]].op_type
            assert (producer == "DequantizeLinear") == (node.name not in reasons), node.name
    convolutions = [node for node in member.graph.graph.node if node.op_type == "Conv"]
    assert sum(node.name not in reasons for node in convolutions) > 0.4 * len(convolutions)


@pytest.mark.slow
@pytest.mark.tensorrt
@pytest.mark.parametrize("precision", ["fp16", "int8", "int8-rtx"])
def test_tensorrt_for_rtx_builds_it(member: Exported, precision: str) -> None:
    graph = member.graph
    if precision != "fp16":
        target = "tensorrt-rtx" if precision == "int8-rtx" else None
        graph = quantize(graph, member.ranges, "s8", target=target)
    typed = to_half(graph).SerializeToString()
    plan = build_plan(load_library("tensorrt-rtx"), typed, BuildSettings(precision))
    assert plan.convolutions["FP16" if precision == "fp16" else "INT8"] > 10
    assert "FP32" not in plan.convolutions
