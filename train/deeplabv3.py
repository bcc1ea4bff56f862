"""DeepLab v3: atrous spatial pyramid pooling with image-level features, and no decoder.

Chen, Papandreou, Schroff, Adam: "Rethinking Atrous Convolution for Semantic Image Segmentation",
2017.
"""

from __future__ import annotations

from torch import Tensor

from train.aspp import Aspp
from train.backbones import Trunk
from train.layers import Classifier, initialise
from train.network import Network


class DeepLabV3(Network):
    """Trunk, ASPP, 1x1 classifier; weights live under `backbone.`, `aspp.`, `classifier.`.

    With `separable` convolutions it is also what v3+ is without its decoder.
    """

    def __init__(
        self,
        trunk: Trunk,
        classes: int,
        output_stride: int = 16,
        separable: bool = False,
        atrous: bool = True,
    ) -> None:
        super().__init__()
        self.backbone = trunk.network
        self.aspp = Aspp(trunk.channels[-1], output_stride, separable=separable, atrous=atrous)
        self.classifier = Classifier(256, classes)
        initialise(self.aspp)
        initialise(self.classifier)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images [N, 3, H, W] -> logits [N, classes, ...] at the output stride."""
        logits: Tensor = self.classifier(self.aspp(self.backbone(images)[-1]))
        return logits
