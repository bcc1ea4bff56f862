"""The network as it is deployed: raw uint8 frames in, logits out, nothing left to get wrong."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from engines.spec import ModelSpec


class Normalise(nn.Module):
    """(x - mean) / std per RGB channel, in 0..255 units; the one place where training,
    evaluation and the exported graph take it from."""

    mean: Tensor
    std: Tensor

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(spec.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(spec.std).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """[N, 3, H, W] of any type -> float32 of the same shape."""
        return (images.float() - self.mean) / self.std


class Deployable(nn.Module):
    """uint8 RGB frames [N, H, W, 3] -> float32 logits [N, C, ceil(H/4), ceil(W/4)]."""

    def __init__(self, network: nn.Module, spec: ModelSpec) -> None:
        super().__init__()
        self.normalise = Normalise(spec)
        self.network = network

    def forward(self, frames: Tensor) -> Tensor:
        """Cast, NHWC -> NCHW, normalise, run the network."""
        logits: Tensor = self.network(self.normalise(frames.float().permute(0, 3, 1, 2)))
        return logits.float()
