"""The two convolution blocks that the whole DeepLab v3+ head is made of."""

from __future__ import annotations

from torch import nn


class ConvBnRelu(nn.Sequential):
    """Convolution without bias, batch norm, ReLU: [N, in, h, w] -> [N, out, h, w]."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)


class AtrousSeparableConv(nn.Sequential):
    """3x3 depthwise convolution at `rate`, then 1x1 pointwise: [N, in, h, w] -> [N, out, h, w].

    "Atrous separable convolution" (Chen et al. 2018, section 3.1, figure 3): the depthwise part
    sees each channel alone with holes of `rate` pixels between its taps, the pointwise part mixes
    channels. Batch norm AND ReLU stand after *both* parts, as `split_separable_conv2d` in the
    official model.py has it for the ASPP and the decoder (inside the Xception blocks there is no
    ReLU in between).
    """

    def __init__(self, inputs: int, outputs: int, rate: int = 1) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(
            inputs, inputs, 3, padding=rate, dilation=rate, groups=inputs, bias=False
        )
        self.depthwise_bn = nn.BatchNorm2d(inputs)
        self.depthwise_relu = nn.ReLU(inplace=True)
        self.pointwise = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.pointwise_bn = nn.BatchNorm2d(outputs)
        self.pointwise_relu = nn.ReLU(inplace=True)
