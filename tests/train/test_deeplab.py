"""The network: shapes at any size and stride, parameter counts, the order of its layers."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from engines.failures import UsageError
from train.aspp import Aspp, ImagePooling
from train.deeplab import BACKBONES, build_model
from train.layers import AtrousSeparableConv

MOBILENET = "deeplabv3plus_mobilenetv2"


@pytest.mark.parametrize("size", [(64, 96), (65, 97), (37, 51)])
def test_logits_stand_at_stride_4_and_every_weight_learns(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    network = build_model(MOBILENET, classes=3)
    logits = network(torch.randn(2, 3, *size))
    assert logits.shape == (2, 3, -(-size[0] // 4), -(-size[1] // 4))
    logits.square().mean().backward()
    without = [name for name, p in network.named_parameters() if p.grad is None]
    assert not without


@pytest.mark.parametrize("output_stride", [8, 16, 32])
@pytest.mark.parametrize("architecture", [MOBILENET, "deeplabv3plus_xception41"])
def test_output_stride_is_that_of_the_encoder(architecture: str, output_stride: int) -> None:
    with torch.device("meta"):
        network = build_model(architecture, 11, output_stride).eval()
        seen: list[torch.Size] = []
        network.aspp.register_forward_hook(lambda _m, inputs, _o: seen.append(inputs[0].shape[2:]))
        logits = network(torch.zeros(1, 3, 97, 130))
    assert seen == [(-(-97 // output_stride), -(-130 // output_stride))]
    assert logits.shape == (1, 11, 25, 33)


@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_aspp_rates_cover_the_same_part_of_the_image_at_each_stride(output_stride: int) -> None:
    branches = Aspp(8, output_stride, channels=4).atrous
    convs = [m for m in branches.modules() if isinstance(m, nn.Conv2d) and m.groups > 1]
    assert [conv.dilation[0] * output_stride for conv in convs] == [6 * 16, 12 * 16, 18 * 16]


def test_a_network_trained_at_stride_16_runs_at_8_with_the_same_weights() -> None:
    coarse, fine = build_model(MOBILENET, 3, 16).eval(), build_model(MOBILENET, 3, 8).eval()
    fine.load_state_dict(coarse.state_dict())
    image = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        assert torch.equal(coarse.backbone(image)[0], fine.backbone(image)[0])
        assert coarse.backbone(image)[1].shape[2:] == (4, 6)
        assert fine.backbone(image)[1].shape[2:] == (8, 12)


MILLIONS = {  # counted from the layer tables of the official xception.py, model.py
    MOBILENET: 2.72,
    "deeplabv3plus_xception41": 28.11,
    "deeplabv3plus_xception65": 41.05,
    "deeplabv3plus_xception71": 43.48,
}


@pytest.mark.parametrize("architecture", BACKBONES)
def test_parameters_match_the_official_networks(architecture: str) -> None:
    with torch.device("meta"):
        network = build_model(architecture, classes=11)
    count = sum(p.numel() for p in network.parameters())
    assert count / 1e6 == pytest.approx(MILLIONS[architecture], abs=0.011)


def test_weights_live_under_three_names() -> None:
    with torch.device("meta"):
        names = build_model(MOBILENET, 3).state_dict()
    assert {name.split(".")[0] for name in names} == {"backbone", "aspp", "decoder"}


def test_image_pooling_equals_a_bilinear_resize_of_the_pooled_map() -> None:
    torch.manual_seed(0)
    pooling = ImagePooling(8, 4).eval()
    features = torch.randn(2, 8, 5, 7)
    pooled = pooling.project(functional.adaptive_avg_pool2d(features, 1))
    resized = functional.interpolate(pooled, (5, 7), mode="bilinear", align_corners=False)
    torch.testing.assert_close(pooling(features), resized)


def test_batch_norm_and_relu_follow_both_parts_of_a_separable_convolution() -> None:
    block = AtrousSeparableConv(6, 9, rate=3)
    kinds = [nn.Conv2d, nn.BatchNorm2d, nn.ReLU] * 2
    assert [type(layer) for layer in block] == kinds
    assert (block.depthwise.groups, block.depthwise.dilation) == (6, (3, 3))
    assert block(torch.randn(2, 6, 10, 11)).shape == (2, 9, 10, 11)


def test_unknown_architecture_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean deeplabv3plus_xception65"):
        build_model("deeplabv3plus_xception66", 3)
    with pytest.raises(UsageError, match="known: deeplabv3plus_mobilenetv2"):
        build_model("vgg", 3)


def test_unknown_output_stride_is_refused() -> None:
    with pytest.raises(UsageError, match="output stride 4"):
        build_model(MOBILENET, 3, output_stride=4)
