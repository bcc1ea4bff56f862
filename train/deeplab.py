"""DeepLab v3+: a dilated backbone, atrous spatial pyramid pooling, and a light decoder.

Chen, Zhu, Papandreou, Schroff, Adam: "Encoder-Decoder with Atrous Separable Convolution for
Semantic Image Segmentation", ECCV 2018.
"""

from __future__ import annotations

import difflib
from typing import Any

import timm
from torch import Tensor, nn

from engines.failures import UsageError
from train.aspp import Aspp
from train.decoder import Decoder

# architecture -> timm backbone. A row suffices for any timm network whose `features_only` form
# has a stride-4 map at index 1 and takes `output_stride`.
BACKBONES = {
    "deeplabv3plus_mobilenetv2": "mobilenetv2_100",
    "deeplabv3plus_xception41": "xception41",
    "deeplabv3plus_xception65": "xception65",
    "deeplabv3plus_xception71": "xception71",
}
OUTPUT_STRIDES = (8, 16, 32)


class DeepLabV3Plus(nn.Module):
    """Encoder (backbone + ASPP) and decoder; weights live under `backbone.`, `aspp.`, `decoder.`.

    The output stride is how much coarser than the image the encoder's last map is. Where a
    backbone would pass it, timm replaces stride by dilation (v3, section 3.1): finer maps, the
    same weights, more arithmetic. So a network trained at 16 also runs at 8.
    """

    def __init__(
        self, backbone: str, classes: int, output_stride: int = 16, pretrained: bool = False
    ) -> None:
        super().__init__()
        backbone_network: Any = timm.create_model(
            backbone,
            features_only=True,
            out_indices=(1, 4),
            output_stride=output_stride,
            pretrained=pretrained,
        )
        low_level, last = backbone_network.feature_info.channels()
        self.backbone: nn.Module = backbone_network
        self.aspp = Aspp(last, output_stride)
        self.decoder = Decoder(256, low_level, classes)
        initialise(self.aspp)
        initialise(self.decoder)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images [N, 3, H, W] -> logits [N, classes, ceil(H/4), ceil(W/4)]."""
        low_level, last = self.backbone(images)
        logits: Tensor = self.decoder(self.aspp(last), low_level)
        return logits


def build_model(
    architecture: str, classes: int, output_stride: int = 16, pretrained: bool = False
) -> DeepLabV3Plus:
    """Build a network by name; `pretrained` downloads timm's ImageNet backbone.

    An unknown name or stride raises `UsageError`.
    """
    if architecture not in BACKBONES:
        guess = difflib.get_close_matches(architecture, BACKBONES, n=1)
        hint = f"did you mean {guess[0]}?" if guess else f"known: {', '.join(BACKBONES)}"
        raise UsageError(f"unknown architecture {architecture!r}: {hint}")
    if output_stride not in OUTPUT_STRIDES:
        raise UsageError(f"output stride {output_stride} is not one of 8, 16, 32")
    return DeepLabV3Plus(BACKBONES[architecture], classes, output_stride, pretrained)


def initialise(module: nn.Module) -> None:
    """Kaiming-normal convolutions (fan-out); the classifier small (std 0.01, as in model.py)."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            if layer.bias is not None:  # the classifier: everything else has batch norm instead
                nn.init.normal_(layer.weight, std=0.01)
                nn.init.zeros_(layer.bias)
            else:
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
