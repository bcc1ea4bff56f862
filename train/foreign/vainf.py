"""DeepLab v3 and v3+ of github.com/VainF/DeepLabV3Plus-Pytorch (`network/`), not its HRNets.

Its v3+ differs from the paper's: the low-level features come first in the concatenation, and one
dense 3x3 convolution follows instead of two separable ones. MobileNetV2's first convolution has no
padding, so an input side should be a multiple of 4 for the logits to have a quarter of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision import models
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.segmentation.deeplabv3 import ASPP, DeepLabHead

from train.foreign.mobilenetv2 import PaddedMobileNetV2
from train.network import Network

RATES = {16: (6, 12, 18), 8: (12, 24, 36)}


class VainfDeepLab(Network):
    """Keys as in the repository: `backbone.`, `classifier.`.

    Its final resize has align_corners=False, as ours: the labels are the same.
    """

    def __init__(
        self, name: str, classes: int, output_stride: int, _modifiers: Mapping[str, str]
    ) -> None:
        super().__init__()
        head, _, trunk = name.partition("_")
        self.backbone, low_level, last = build_trunk(trunk, output_stride)
        rates = RATES[output_stride]
        self.classifier: nn.Module
        if head == "deeplabv3plus":
            self.classifier = PlusHead(last, low_level, classes, rates)
        else:
            self.classifier = Head(last, classes, rates)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images [N, 3, H, W] -> logits, v3+ at stride 4, v3 at the output stride."""
        features = self.backbone(images)
        low_level, last = features.values() if isinstance(features, dict) else features
        logits: Tensor = self.classifier(low_level, last)
        return logits


def build_trunk(name: str, output_stride: int) -> tuple[nn.Module, int, int]:
    """A trunk that gives low-level and last features, and their channels."""
    if name == "mobilenet":
        return PaddedMobileNetV2(output_stride, 0, whole_stage_at_old_rate=False), 24, 320
    resnet = getattr(models, name)(replace_stride_with_dilation=[False, output_stride == 8, True])
    layers = {"layer1": "low_level", "layer4": "out"}
    return IntermediateLayerGetter(resnet, return_layers=layers), 256, 2048


class Head(nn.Module):
    """v3: torchvision's head, one level deeper in the keys."""

    def __init__(self, last: int, classes: int, rates: Sequence[int]) -> None:
        super().__init__()
        self.classifier = DeepLabHead(last, classes, rates)

    def forward(self, _low_level: Tensor, last: Tensor) -> Tensor:
        """Last features -> logits of the same size."""
        logits: Tensor = self.classifier(last)
        return logits


class PlusHead(nn.Module):
    """v3+: ASPP, resized to the projected low-level features and appended to them."""

    def __init__(self, last: int, low_level: int, classes: int, rates: Sequence[int]) -> None:
        super().__init__()
        self.project = nn.Sequential(
            nn.Conv2d(low_level, 48, 1, bias=False), nn.BatchNorm2d(48), nn.ReLU()
        )
        self.aspp = ASPP(last, rates)
        self.classifier = nn.Sequential(
            nn.Conv2d(48 + 256, 256, 3, padding=1, bias=False),
            nn.BatchNorm2d(256),
            nn.ReLU(),
            nn.Conv2d(256, classes, 1),
        )

    def forward(self, low_level: Tensor, last: Tensor) -> Tensor:
        """-> logits of the low-level features' size."""
        fine = self.project(low_level)
        coarse = functional.interpolate(self.aspp(last), fine.shape[2:], mode="bilinear")
        logits: Tensor = self.classifier(torch.cat((fine, coarse), dim=1))
        return logits
