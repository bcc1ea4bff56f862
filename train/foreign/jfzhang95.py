"""DeepLab v3+ of github.com/jfzhang95/pytorch-deeplab-xception (`modeling/`).

Dense convolutions, every resize with align_corners=True, and its own four trunks.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import resnet101
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.segmentation.deeplabv3 import ASPP

from train.foreign.drn import Drn
from train.foreign.mobilenetv2 import PaddedMobileNetV2
from train.foreign.xception import AlignedXception
from train.network import Network

RATES = {16: (6, 12, 18), 8: (12, 24, 36)}
MULTI_GRID = (1, 2, 4)


class Jfzhang95DeepLab(Network):
    """Keys `backbone.` and `decoder.` as in the repository, `aspp.` as in torchvision."""

    def __init__(
        self, name: str, classes: int, output_stride: int, modifiers: Mapping[str, str]
    ) -> None:
        super().__init__()
        self.backbone, low_level, last = build_trunk(name.partition("_")[2], output_stride)
        self.aspp = ASPP(last, RATES[output_stride])
        self.decoder = Decoder(low_level, classes)
        self.full_size = "full-size" in modifiers

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images [N, 3, H, W] -> logits at stride 4, or at the image's size."""
        features = self.backbone(images)
        low_level, last = features.values() if isinstance(features, dict) else features
        logits: Tensor = self.decoder(self.aspp(last), low_level)
        return resize(logits, images) if self.full_size else logits


def resize(x: Tensor, like: Tensor) -> Tensor:
    """[N, C, h, w] -> [N, C, H, W] of `like`, corners on corners."""
    return functional.interpolate(x, like.shape[2:], mode="bilinear", align_corners=True)


def build_trunk(name: str, output_stride: int) -> tuple[nn.Module, int, int]:
    """A trunk that gives low-level and last features, and their channels."""
    if name == "mobilenet":
        return PaddedMobileNetV2(output_stride, 1, whole_stage_at_old_rate=True), 24, 320
    if name == "xception":
        return AlignedXception(output_stride), 128, 2048
    if name == "drn":
        return Drn(), 256, 512
    return multi_grid_resnet(output_stride), 256, 2048


def multi_grid_resnet(output_stride: int) -> nn.Module:
    """ResNet-101 whose third and fourth blocks have one rate each, the fourth times 1, 2, 4."""
    resnet = resnet101(replace_stride_with_dilation=[False, output_stride == 8, True])
    rates = {
        "layer3": (16 // output_stride,),
        "layer4": [32 // output_stride * g for g in MULTI_GRID],
    }
    for layer, unit_rates in rates.items():
        for index, unit in enumerate(getattr(resnet, layer)):
            rate = unit_rates[index % len(unit_rates)]
            unit.conv2.dilation = unit.conv2.padding = (rate, rate)
    layers = {"layer1": "low_level", "layer4": "out"}
    trunk: nn.Module = IntermediateLayerGetter(resnet, return_layers=layers)
    return trunk


class Decoder(nn.Module):
    """ASPP, resized to the low-level features and put before them; two dense 3x3 convolutions."""

    def __init__(self, low_level: int, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(low_level, 48, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(48)
        self.last_conv = nn.Sequential(
            nn.Conv2d(256 + 48, 256, 3, padding=1, bias=False),
            nn.BatchNorm2d(256),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Conv2d(256, 256, 3, padding=1, bias=False),
            nn.BatchNorm2d(256),
            nn.ReLU(),
            nn.Dropout(0.1),
            nn.Conv2d(256, classes, 1),
        )

    def forward(self, coarse: Tensor, low_level: Tensor) -> Tensor:
        """-> logits of the low-level features' size."""
        fine = functional.relu(self.bn1(self.conv1(low_level)))
        logits: Tensor = self.last_conv(torch.cat((resize(coarse, fine), fine), dim=1))
        return logits
