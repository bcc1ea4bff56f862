"""DeepLab v1: VGG-16 with atrous convolution and one classifier with a large field of view.

Chen, Papandreou, Kokkinos, Murphy, Yuille: "Semantic Image Segmentation with Deep Convolutional
Nets and Fully Connected CRFs", ICLR 2015. The CRF is the `crf` room's; this is the network.
"""

from __future__ import annotations

from torch import Tensor, nn

from train.backbones import Trunk
from train.layers import Classifier, initialise
from train.network import Network

RATE = 12  # section 4.1, "DeepLab-LargeFOV"


class FullyConvolutional(nn.Sequential):
    """VGG's three fully connected layers as convolutions: 3x3x1024 at `rate`, 1x1x1024, logits.

    The 7x7x4096 kernel of fc6 became 3x3 with holes and 1024 channels: as large a field of view
    for 1/22 of its weights (20.5 instead of 134.3 million in the whole network).
    """

    def __init__(self, inputs: int, classes: int, rate: int, channels: int = 1024) -> None:
        super().__init__()
        self.fc6 = nn.Conv2d(inputs, channels, 3, padding=rate, dilation=rate)
        self.relu6 = nn.ReLU(inplace=True)
        self.dropout6 = nn.Dropout(0.5)
        self.fc7 = nn.Conv2d(channels, channels, 1)
        self.relu7 = nn.ReLU(inplace=True)
        self.dropout7 = nn.Dropout(0.5)
        self.fc8 = Classifier(channels, classes)


class DeepLabV1(Network):
    """DeepLab-LargeFOV: logits at output stride 8.

    Before the classifier stands a 3x3 average pool of stride 1, the prototxt's `pool5a`, which v2
    dropped.
    """

    def __init__(self, trunk: Trunk, classes: int) -> None:
        super().__init__()
        self.backbone = trunk.network
        self.pool5a = nn.AvgPool2d(3, stride=1, padding=1)
        self.head = FullyConvolutional(trunk.channels[-1], classes, RATE)
        initialise(self.head)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images [N, 3, H, W] -> logits [N, classes, ceil(H/8), ceil(W/8)]."""
        logits: Tensor = self.head(self.pool5a(self.backbone(images)[-1]))
        return logits
