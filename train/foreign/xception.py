"""The aligned Xception of github.com/jfzhang95/pytorch-deeplab-xception.

Two things set it apart: its ReLUs work in place, so a shortcut carries the rectified input of its
block; and the strided convolution comes after the block's two others instead of being the third.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional

MIDDLE = range(4, 20)  # blocks of the middle flow


class Separable(nn.Module):
    """Depthwise 3x3, batch norm, pointwise."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, rate: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, inputs, 3, stride, rate, rate, groups=inputs, bias=False)
        self.bn = nn.BatchNorm2d(inputs)
        self.pointwise = nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C', H/stride, W/stride]."""
        y: Tensor = self.pointwise(self.bn(self.conv1(x)))
        return y


class Block(nn.Module):
    """Separable convolutions through `channels`, and a shortcut.

    With `rectified` the block starts with a ReLU, and the shortcut sees its result. `last_stride`
    appends a convolution of that stride at rate 1; 0 appends none.
    """

    def __init__(
        self, *channels: int, rate: int = 1, last_stride: int = 0, rectified: bool = True
    ) -> None:
        super().__init__()
        inputs, outputs = channels[0], channels[-1]
        layers: list[nn.Module] = []
        for before, after in pairwise(channels):
            layers += [nn.ReLU(), Separable(before, after, rate=rate), nn.BatchNorm2d(after)]
        if last_stride:
            layers += [nn.ReLU(), Separable(outputs, outputs, last_stride), nn.BatchNorm2d(outputs)]
        self.rectified = rectified
        self.rep = nn.Sequential(*layers[0 if rectified else 1 :])
        self.skip: nn.Module | None = None
        if inputs != outputs:
            self.skip = nn.Conv2d(inputs, outputs, 1, last_stride or 1, bias=False)
            self.skipbn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C', H/stride, W/stride]."""
        if self.rectified:
            x = functional.relu(x)
        shortcut = x if self.skip is None else self.skipbn(self.skip(x))
        y: Tensor = self.rep(x) + shortcut
        return y


class AlignedXception(nn.Module):
    """Images -> [128 channels at stride 4, 2048 at the output stride]."""

    def __init__(self, output_stride: int) -> None:
        super().__init__()
        entry, rate = (2, 1) if output_stride == 16 else (1, 2)
        self.conv1 = nn.Conv2d(3, 32, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(32)
        self.conv2 = nn.Conv2d(32, 64, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(64)
        self.block1 = Block(64, 128, 128, last_stride=2, rectified=False)
        self.block2 = Block(128, 256, 256, last_stride=2, rectified=False)
        self.block3 = Block(256, 728, 728, last_stride=entry)
        for index in MIDDLE:
            self.add_module(f"block{index}", Block(728, 728, 728, 728, rate=rate))
        self.block20 = Block(728, 728, 1024, rate=rate, last_stride=1)
        self.conv3 = Separable(1024, 1536, rate=2 * rate)
        self.bn3 = nn.BatchNorm2d(1536)
        self.conv4 = Separable(1536, 1536, rate=2 * rate)
        self.bn4 = nn.BatchNorm2d(1536)
        self.conv5 = Separable(1536, 2048, rate=2 * rate)
        self.bn5 = nn.BatchNorm2d(2048)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Normalised images [N, 3, H, W] -> [low-level features, last features]."""
        x = functional.relu(self.bn1(self.conv1(images)))
        x = functional.relu(self.bn2(self.conv2(x)))
        low_level = functional.relu(self.block1(x))
        x = self.block3(self.block2(low_level))
        for index in MIDDLE:
            x = self.get_submodule(f"block{index}")(x)
        x = functional.relu(self.block20(x))
        x = functional.relu(self.bn3(self.conv3(x)))
        x = functional.relu(self.bn4(self.conv4(x)))
        return [low_level, functional.relu(self.bn5(self.conv5(x)))]
