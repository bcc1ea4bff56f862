"""FP32 for the convolutions that bfloat16 makes slower: the same function, the same keys."""

from __future__ import annotations

import copy

import torch

from train.arithmetic import WideConv2d, widen_slow_depthwise
from train.family import build_model


def test_strided_and_dilated_depthwise_convolutions_alone_become_wide() -> None:
    network = build_model("deeplabv3plus_mobilenetv2", 4)
    keys = list(network.state_dict())
    widen_slow_depthwise(network)
    wide = [layer for layer in network.modules() if isinstance(layer, WideConv2d)]
    assert all(layer.groups == layer.in_channels > 1 for layer in wide)
    assert sorted({layer.stride[0] for layer in wide}) == [1, 2]
    assert sorted({layer.dilation[0] for layer in wide}) == [1, 2, 6, 12, 18]
    assert list(network.state_dict()) == keys


def test_under_autocast_they_compute_in_fp32_and_copies_are_independent() -> None:
    torch.manual_seed(0)
    convolution = torch.nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=8)
    layer = torch.nn.Sequential(convolution)
    images = torch.randn(1, 8, 12, 12).bfloat16()
    expected = layer(images.float())
    widen_slow_depthwise(layer)
    twin = copy.deepcopy(layer)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer(images), expected.bfloat16())
        torch.nn.init.zeros_(convolution.weight)
        assert torch.equal(twin(images), expected.bfloat16())
    assert twin(images.float()).dtype == torch.float32
