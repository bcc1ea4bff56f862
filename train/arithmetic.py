"""Where mixed precision on a CPU would be slower than FP32, this keeps FP32."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class WideConv2d(nn.Conv2d):
    """A convolution that leaves autocast: FP32 inside, the input's own type outside."""

    def forward(self, features: Tensor) -> Tensor:
        """[N, in, h, w] -> [N, out, h', w']."""
        if features.device.type != "cpu":
            return super().forward(features)
        with torch.autocast("cpu", enabled=False):
            return super().forward(features.float()).to(features.dtype)


def widen_slow_depthwise(network: nn.Module) -> None:
    """Keep strided and dilated depthwise convolutions of `network` in FP32 under CPU autocast.

    oneDNN has no fast bfloat16 backward pass for them: 960 channels at rate 2 take 91 ms instead
    of 23, 96 channels at stride 2 162 ms instead of 35 (batch 8, 320x400, 2-core Xeon with AMX);
    a training step of DeepLab v3+ MobileNetV2 falls from 1.9 to 1.5 s. Keys do not change.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d) and type(layer) is nn.Conv2d and is_slow(layer):
            layer.__class__ = WideConv2d


def is_slow(layer: nn.Conv2d) -> bool:
    """Whether `layer` is a depthwise convolution with a stride or holes."""
    return layer.groups == layer.in_channels > 1 and max(*layer.stride, *layer.dilation) > 1
