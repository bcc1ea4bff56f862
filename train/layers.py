"""The convolution blocks that the heads of the whole family are made of."""

from __future__ import annotations

from torch import nn


class ConvBnRelu(nn.Sequential):
    """Convolution without bias, batch norm, ReLU: [N, in, h, w] -> [N, out, h, w]."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, rate: int = 1) -> None:
        super().__init__()
        reach = kernel // 2 * rate
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=reach, dilation=rate, bias=False)
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


def atrous_conv(inputs: int, outputs: int, rate: int = 1, separable: bool = True) -> nn.Module:
    """A 3x3 convolution at `rate` with batch norm and ReLU, depthwise separable or dense."""
    if separable:
        return AtrousSeparableConv(inputs, outputs, rate)
    return ConvBnRelu(inputs, outputs, kernel=3, rate=rate)


class Classifier(nn.Conv2d):
    """The convolution that gives the logits: the only one with a bias beside VGG's."""

    def __init__(self, inputs: int, classes: int, kernel: int = 1, rate: int = 1) -> None:
        reach = kernel // 2 * rate
        super().__init__(inputs, classes, kernel, padding=reach, dilation=rate)


def initialise(head: nn.Module) -> None:
    """Kaiming-normal convolutions (fan-out); classifiers small (std 0.01, as in v2's prototxt and
    v3's model.py); biases 0."""
    for layer in head.modules():
        if isinstance(layer, nn.Conv2d):
            if isinstance(layer, Classifier):
                nn.init.normal_(layer.weight, std=0.01)
            else:
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
