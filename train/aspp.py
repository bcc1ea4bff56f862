"""Atrous spatial pyramid pooling: the same features seen at several scales at once."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from train.layers import ConvBnRelu, atrous_conv

RATES_AT_16 = (6, 12, 18)  # Chen et al. 2017 ("v3"), section 3.3


class ImagePooling(nn.Module):
    """The image-level feature (v3, section 3.3): global mean, 1x1 convolution, broadcast back.

    A 1x1 map resized bilinearly is constant, so an expand does the same and exports to no node
    that an inference engine would have to interpolate.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.project = ConvBnRelu(inputs, outputs)

    def forward(self, features: Tensor) -> Tensor:
        """[N, in, h, w] -> [N, out, h, w], the same vector at every position."""
        pooled: Tensor = self.project(features.mean(dim=(2, 3), keepdim=True))
        return pooled.expand(-1, -1, *features.shape[2:])


class Aspp(nn.Module):
    """Image pooling, a 1x1 and three atrous 3x3 branches, concatenated and projected.

    Rates are (6, 12, 18) at output stride 16 and double at 8 (v3, section 3.3), so that they span
    the same part of the image; at 32 they halve. Concat order and the dropout of 0.1 after the
    projection follow the official model.py. `separable` is v3+'s change; without `atrous` only
    image pooling and the 1x1 branch are left, as in the model zoo's MobileNetV2 networks.
    """

    def __init__(
        self,
        inputs: int,
        output_stride: int,
        channels: int = 256,
        separable: bool = True,
        atrous: bool = True,
    ) -> None:
        super().__init__()
        rates = [rate * 16 // output_stride for rate in RATES_AT_16] if atrous else []
        self.pooling = ImagePooling(inputs, channels)
        self.pointwise = ConvBnRelu(inputs, channels)
        self.atrous = nn.ModuleList(
            atrous_conv(inputs, channels, rate, separable) for rate in rates
        )
        self.project = ConvBnRelu(channels * (2 + len(rates)), channels)
        self.dropout = nn.Dropout(0.1)

    def forward(self, features: Tensor) -> Tensor:
        """[N, in, h, w] -> [N, channels, h, w]."""
        branches = [self.pooling(features), self.pointwise(features)]
        branches += [branch(features) for branch in self.atrous]
        result: Tensor = self.dropout(self.project(torch.cat(branches, dim=1)))
        return result
