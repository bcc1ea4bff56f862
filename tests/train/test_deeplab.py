"""The parts of the heads: rates, the order of layers, image pooling, the decoder's tap."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from engines.twins import upsample
from train.aspp import Aspp, ImagePooling
from train.decoder import Decoder
from train.family import build_model
from train.layers import AtrousSeparableConv

MOBILENET = "deeplabv3plus_mobilenetv2"


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


def test_the_decoder_upsamples_on_the_grid_that_deployment_reads() -> None:
    """align_corners=False, against the formula written out in NumPy."""
    torch.manual_seed(0)
    decoder, refined = Decoder(8, 6, 3).eval(), list[Tensor]()
    decoder.refine.register_forward_pre_hook(lambda _, inputs: refined.append(inputs[0]))
    features = torch.randn(1, 8, 3, 5)
    with torch.no_grad():
        decoder(features, torch.randn(1, 6, 12, 20))
    expected = upsample(features[0].numpy(), (12, 20))
    torch.testing.assert_close(refined[0][0, :8], torch.from_numpy(expected))


def test_batch_norm_and_relu_follow_both_parts_of_a_separable_convolution() -> None:
    block = AtrousSeparableConv(6, 9, rate=3)
    kinds = [nn.Conv2d, nn.BatchNorm2d, nn.ReLU] * 2
    assert [type(layer) for layer in block] == kinds
    assert (block.depthwise.groups, block.depthwise.dilation) == (6, (3, 3))
    assert block(torch.randn(2, 6, 10, 11)).shape == (2, 9, 10, 11)
