"""DRN-D-54, a dilated residual network (Yu, Koltun, Funkhouser, CVPR 2017), at output stride 8."""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck


class Drn(nn.Module):
    """Images -> [256 channels at stride 4, 512 at stride 8]; layer names as in its repository."""

    def __init__(self) -> None:
        super().__init__()
        self.layer0 = plain(3, 16, kernel=7)
        self.layer1 = plain(16, 16)
        self.layer2 = plain(16, 32, stride=2)
        self.layer3 = bottlenecks(32, 64, 3, stride=2)
        self.layer4 = bottlenecks(256, 128, 4, stride=2)
        self.layer5 = bottlenecks(512, 256, 6, rate=2)
        self.layer6 = bottlenecks(1024, 512, 3, rate=4)
        self.layer7 = plain(2048, 512, rate=2)
        self.layer8 = plain(512, 512)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Normalised images [N, 3, H, W] -> [low-level features, last features]."""
        low_level = self.layer3(self.layer2(self.layer1(self.layer0(images))))
        x = self.layer6(self.layer5(self.layer4(low_level)))
        return [low_level, self.layer8(self.layer7(x))]


def plain(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, rate: int = 1) -> nn.Module:
    """A convolution without a shortcut: DRN-D removes the gridding of the rates with these."""
    padding = kernel // 2 * rate
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding, rate, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


def bottlenecks(inputs: int, width: int, units: int, stride: int = 1, rate: int = 1) -> nn.Module:
    """A ResNet block of 4 x `width` channels, every unit at `rate`."""
    outputs = width * Bottleneck.expansion
    shortcut = nn.Sequential(
        nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
    )
    first = Bottleneck(inputs, width, stride, shortcut, dilation=rate)
    return nn.Sequential(
        first, *(Bottleneck(outputs, width, dilation=rate) for _ in range(units - 1))
    )
