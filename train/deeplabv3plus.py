"""DeepLab v3+: a dilated backbone, atrous spatial pyramid pooling, and a light decoder.

Chen, Zhu, Papandreou, Schroff, Adam: "Encoder-Decoder with Atrous Separable Convolution for
Semantic Image Segmentation", ECCV 2018.
"""

from __future__ import annotations

from torch import Tensor

from train.aspp import Aspp
from train.backbones import Trunk
from train.decoder import Decoder
from train.layers import initialise
from train.network import Network


class DeepLabV3Plus(Network):
    """Encoder (backbone + ASPP) and decoder; weights live under `backbone.`, `aspp.`, `decoder.`.

    The output stride is how much coarser than the image the encoder's last map is. Where a
    backbone would pass it, stride becomes dilation (v3, section 3.1): finer maps, the same
    weights, more arithmetic. So a network trained at 16 also runs at 8. `separable` is the "SC"
    column of the paper's table 5; without the decoder the network is `DeepLabV3`.
    """

    def __init__(
        self,
        trunk: Trunk,
        classes: int,
        output_stride: int = 16,
        separable: bool = True,
        atrous: bool = True,
    ) -> None:
        super().__init__()
        low_level, last = trunk.channels
        self.backbone = trunk.network
        self.aspp = Aspp(last, output_stride, separable=separable, atrous=atrous)
        self.decoder = Decoder(256, low_level, classes, separable=separable)
        initialise(self.aspp)
        initialise(self.decoder)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images [N, 3, H, W] -> logits [N, classes, ceil(H/4), ceil(W/4)]."""
        low_level, last = self.backbone(images)
        logits: Tensor = self.decoder(self.aspp(last), low_level)
        return logits
