"""VGG-16 as v1 and v2 use it: output stride 8, the last two strides turned into rates."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

KEPT_STRIDES = 3  # pool1 to pool3; pool4 and pool5 lose theirs
CHANNELS = 512


class Vgg16(nn.Module):
    """Images [N, 3, H, W] -> [features [N, 512, ceil(H/8), ceil(W/8)]].

    As in the authors' prototxt: every pool is 3x3 with padding 1 (VGG's own are 2x2), the first
    three of stride 2, the last two of stride 1; conv5_1 to conv5_3 run at rate 2. The layers bear
    torchvision's names, `features.N`.
    """

    def __init__(self, pretrained: bool = False) -> None:
        from torchvision.models.vgg import cfgs, make_layers

        super().__init__()
        self.features = make_layers(cfgs["D"], batch_norm=False)
        if pretrained:
            import timm

            source: Any = timm.create_model("vgg16", pretrained=True)
            self.features.load_state_dict(source.features.state_dict())
        trade_strides_for_rates(self.features)

    def forward(self, images: Tensor) -> list[Tensor]:
        """The features, alone in a list: a trunk gives its maps from fine to coarse."""
        return [self.features(images)]


def trade_strides_for_rates(layers: nn.Sequential) -> None:
    """Replace VGG's pools, and dilate the convolutions after the fourth, in place."""
    pools = 0
    for index, layer in enumerate(layers):
        if isinstance(layer, nn.MaxPool2d):
            pools += 1
            layers[index] = nn.MaxPool2d(3, stride=2 if pools <= KEPT_STRIDES else 1, padding=1)
        elif isinstance(layer, nn.Conv2d) and pools == 4:
            layer.dilation = layer.padding = (2, 2)
