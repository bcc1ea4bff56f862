"""DeepLab v2: the sum of classifiers that look at several scales at once.

Chen, Papandreou, Kokkinos, Murphy, Yuille: "DeepLab: Semantic Image Segmentation with Deep
Convolutional Nets, Atrous Convolution, and Fully Connected CRFs", TPAMI 2017.
"""

from __future__ import annotations

from functools import reduce

import torch
from torch import Tensor, nn

from train.backbones import Trunk
from train.deeplabv1 import FullyConvolutional
from train.layers import Classifier, initialise
from train.network import Network

# section 4.1.2 and figure 7, at output stride 8
RATES_AT_8 = {"aspp-l": (6, 12, 18, 24), "aspp-s": (2, 4, 8, 12), "largefov": (12,)}


class DeepLabV2(Network):
    """Atrous spatial pyramid pooling in its first form: one branch per rate, summed as logits.

    On VGG-16 a branch is fc6, fc7, fc8 as in v1; on a trunk with batch norm it is one 3x3
    convolution to the classes, as the authors have it on ResNet-101 (the MobileNetV2 trunk is
    ours). `pyramid` names the rates; at output stride 16 they halve, so that they span the same
    part of the image.
    """

    def __init__(
        self, trunk: Trunk, classes: int, output_stride: int = 8, pyramid: str = "aspp-l"
    ) -> None:
        super().__init__()
        rates = [rate * 8 // output_stride for rate in RATES_AT_8[pyramid]]
        inputs = trunk.channels[-1]
        self.backbone = trunk.network
        self.branches = nn.ModuleList(
            Classifier(inputs, classes, kernel=3, rate=rate)
            if trunk.normalised
            else FullyConvolutional(inputs, classes, rate)
            for rate in rates
        )
        initialise(self.branches)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images [N, 3, H, W] -> logits [N, classes, ...] at the output stride."""
        features = self.backbone(images)[-1]
        logits: Tensor = reduce(torch.add, [branch(features) for branch in self.branches])
        return logits
