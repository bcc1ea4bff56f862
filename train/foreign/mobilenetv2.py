"""MobileNetV2 as two widely used DeepLab repositories have it.

It is torchvision's network with one difference: a block pads its input, not its expanded map, so
the depthwise convolution sees relu6(batch norm of 0) around the map where others see 0.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.mobilenetv2 import InvertedResidual
from torchvision.ops import Conv2dNormActivation

# expansion, channels, blocks, stride (MobileNetV2, table 2)
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
LOW_LEVEL = 4  # the stem and blocks 1 to 3 make the low-level features: 24 channels at stride 4


class PaddedBlock(InvertedResidual):  # type: ignore[misc]  # torchvision is untyped
    """An inverted residual whose input is padded by the rate before the expansion."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int, rate: int) -> None:
        super().__init__(inputs, outputs, stride, expansion)
        depthwise = self.conv[-3][0]
        depthwise.padding, depthwise.dilation = (0, 0), (rate, rate)
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C', H/stride, W/stride]."""
        y: Tensor = self.conv(functional.pad(x, [self.rate] * 4))
        return x + y if self.use_res_connect else y


class PaddedMobileNetV2(nn.Module):
    """Images -> features [24 channels at stride 4, 320 at the output stride].

    `stem_padding` is the first convolution's. A stage whose stride became a rate runs at the new
    rate from its second block on; with `whole_stage_at_old_rate` only the next stage does.
    """

    def __init__(
        self, output_stride: int, stem_padding: int, whole_stage_at_old_rate: bool
    ) -> None:
        super().__init__()
        stem = Conv2dNormActivation(
            3, 32, stride=2, padding=stem_padding, activation_layer=nn.ReLU6
        )
        layers: list[nn.Module] = [stem]
        channels, reached, rate = 32, 2, 1
        for expansion, outputs, blocks, nominal in STAGES:
            stride, old_rate = (1, rate) if reached == output_stride else (nominal, rate)
            reached, rate = reached * stride, rate * nominal // stride
            for block in range(blocks):
                first = block == 0
                block_rate = old_rate if first or whole_stage_at_old_rate else rate
                layers.append(
                    PaddedBlock(channels, outputs, stride if first else 1, expansion, block_rate)
                )
                channels = outputs
        named = [(str(index), layer) for index, layer in enumerate(layers)]
        self.low_level_features = nn.Sequential(OrderedDict(named[:LOW_LEVEL]))
        self.high_level_features = nn.Sequential(OrderedDict(named[LOW_LEVEL:]))

    def forward(self, images: Tensor) -> list[Tensor]:
        """Normalised images [N, 3, H, W] -> [low-level features, last features]."""
        low_level = self.low_level_features(images)
        return [low_level, self.high_level_features(low_level)]
