"""Batch norm over the global batch, in networks of `nn.BatchNorm2d` and timm's variant of it."""

from __future__ import annotations

import torch
from timm.layers.norm_act import SyncBatchNormAct, convert_sync_batchnorm
from torch import Tensor, nn

from train import processes


def synchronise_batch_norm(network: nn.Module, device: torch.device) -> None:
    """Let every batch norm of `network` see the samples of all processes; keys do not change.

    GPUs use PyTorch's own, which refuses a CPU's tensors (2.15: "expected input tensor to be on
    GPU"); those have `CpuSyncBatchNorm`.
    """
    convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
    if device.type != "cpu":
        return
    for layer in network.modules():
        if type(layer) is nn.SyncBatchNorm:
            layer.__class__ = CpuSyncBatchNorm
        elif type(layer) is SyncBatchNormAct:
            layer.__class__ = CpuSyncBatchNormAct


class CpuSyncBatchNorm(nn.SyncBatchNorm):
    """The definition, with means over all processes: FP32 inside, like PyTorch's under autocast.

    Every process must hold equally many samples of one size.
    """

    def forward(self, features: Tensor) -> Tensor:
        """[N, C, h, w] -> the same shape; in eval mode with the running statistics."""
        if not self.training:
            return super().forward(features)
        wide, channels = features.float(), (1, -1, 1, 1)
        mean = global_mean(wide)
        centred = wide - mean.view(channels)
        variance = global_mean(centred.square())
        pixels = processes.count() * features.numel() / features.shape[1]
        with torch.no_grad():
            self.follow(mean, variance * (pixels / (pixels - 1)))  # unbiased
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centred * scale.view(channels) + self.bias.view(channels)).to(features.dtype)

    def follow(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics towards these."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
        self.num_batches_tracked.add_(1)


class CpuSyncBatchNormAct(SyncBatchNormAct, CpuSyncBatchNorm):
    """timm's form with an activation behind it: that class calls the next one's `forward`."""


def global_mean(values: Tensor) -> Tensor:
    """Mean per channel of [N, C, h, w] over all processes, [C]."""
    return processes.total(values.mean(dim=(0, 2, 3))) / processes.count()
