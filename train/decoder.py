"""The v3+ decoder: sharpens the ASPP's coarse map with early, high-resolution features."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from train.layers import Classifier, ConvBnRelu, atrous_conv


class Decoder(nn.Module):
    """Concatenate the upsampled ASPP output with low-level features; refine; classify.

    Chen et al. 2018, section 4.1: a 1x1 convolution first cuts the low-level features to 48
    channels (table 1), so that they do not outweigh the 256 of the encoder; two 3x3 convolutions
    of 256 follow (table 2), separable or dense. The 1x1 classifier works at the low-level
    stride: its logits are the network's output, and whoever needs full size interpolates them.
    """

    def __init__(
        self,
        inputs: int,
        low_level: int,
        classes: int,
        channels: int = 256,
        separable: bool = True,
    ) -> None:
        super().__init__()
        self.reduce = ConvBnRelu(low_level, 48)
        self.refine = nn.Sequential(
            atrous_conv(inputs + 48, channels, separable=separable),
            atrous_conv(channels, channels, separable=separable),
        )
        self.classifier = Classifier(channels, classes)

    def forward(self, features: Tensor, low_level: Tensor) -> Tensor:
        """[N, in, h, w] and [N, low, H/4, W/4] -> logits [N, classes, H/4, W/4], any h and w."""
        detail = self.reduce(low_level)
        size = detail.shape[2:]
        coarse = functional.interpolate(features, size, mode="bilinear", align_corners=False)
        logits: Tensor = self.classifier(self.refine(torch.cat([coarse, detail], dim=1)))
        return logits
