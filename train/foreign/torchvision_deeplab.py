"""torchvision's DeepLab v3 (`torchvision.models.segmentation`) without the auxiliary classifier."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from torchvision.models import segmentation

from train.network import Network


class TorchvisionDeepLab(Network):
    """torchvision's own network; its keys `backbone.` and `classifier.` stay as they are.

    Its final resize has align_corners=False, as ours: the labels are the same.
    """

    def __init__(
        self, name: str, classes: int, _output_stride: int, _modifiers: Mapping[str, str]
    ) -> None:
        super().__init__()
        network = getattr(segmentation, name)(
            weights=None, weights_backbone=None, num_classes=classes, aux_loss=False
        )
        self.backbone = network.backbone
        self.classifier = network.classifier

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images [N, 3, H, W] -> logits [N, classes, ...] at the output stride."""
        logits: Tensor = self.classifier(self.backbone(images)["out"])
        return logits
