"""Dropout whose mask does not depend on how many processes share a batch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from train import processes


class GlobalDropout(nn.Dropout):
    """Draws the mask of the global batch and applies the rows of this process's samples."""

    def forward(self, features: Tensor) -> Tensor:
        """[N, ...] -> the same shape; every process must hold equally many samples."""
        if not self.training or self.p == 0:
            return features
        own, rest = features.shape[0], features.shape[1:]
        mask = torch.empty(own * processes.count(), *rest, device=features.device)
        mask.bernoulli_(1 - self.p)
        first = processes.rank() * own
        return features * (mask[first : first + own] / (1 - self.p)).to(features.dtype)


def globalise_dropout(network: nn.Module) -> None:
    """Give every plain dropout of `network` the mask of the global batch."""
    for layer in network.modules():
        if type(layer) is nn.Dropout:
            layer.__class__ = GlobalDropout
