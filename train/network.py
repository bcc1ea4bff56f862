"""What every member of the family is: a trunk, the parts of a head, logits at its own stride."""

from __future__ import annotations

from torch import Tensor, nn

STEPS_RATE = 30  # quantization steps' factor on the learning rate: 1e-3 of a range at 3e-5


class Network(nn.Module):
    """Normalised images [N, 3, H, W] -> logits [N, classes, ceil(H/s), ceil(W/s)].

    The trunk, which may bring ImageNet weights, lives under `backbone.`; everything else is the
    head, which starts at random. Labels are read off after a bilinear resize of the logits to the
    image's size (align_corners=False).
    """

    backbone: nn.Module

    def head_parameters(self) -> list[nn.Parameter]:
        """The parameters outside the trunk."""
        trunk = {id(parameter) for parameter in self.backbone.parameters()}
        return [parameter for parameter in self.parameters() if id(parameter) not in trunk]

    def step_parameters(self) -> list[nn.Parameter]:
        """Logarithms of quantization steps, which only `train.qat` learns."""
        return []

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        raise NotImplementedError
