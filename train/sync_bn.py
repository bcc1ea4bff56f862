"""Batch norm over the global batch, in networks of `nn.BatchNorm2d` and timm's variant of it."""

from __future__ import annotations

import torch
from timm.layers.norm_act import BatchNormAct2d, convert_sync_batchnorm
from torch import Tensor, nn

from train import processes


def synchronise_batch_norm(network: nn.Module, device: torch.device) -> None:
    """Let every batch norm of `network` see the samples of all processes; keys do not change.

    GPUs use PyTorch's own, which refuses a CPU's tensors (2.15: "expected input tensor to be on
    GPU"); those have `CpuSyncBatchNorm`.
    """
    if device.type != "cpu":
        convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        return
    for layer in network.modules():
        if type(layer) is nn.BatchNorm2d:
            layer.__class__ = CpuSyncBatchNorm
        elif type(layer) is BatchNormAct2d:
            layer.__class__ = CpuSyncBatchNormAct


class CpuSyncBatchNorm(nn.BatchNorm2d):
    """The definition, with means over all processes."""

    def forward(self, features: Tensor) -> Tensor:
        """[N, C, h, w] -> the same shape; in eval mode with the running statistics."""
        return normalised(features, self) if self.training else super().forward(features)


class CpuSyncBatchNormAct(BatchNormAct2d):
    """timm's form, with dropout and an activation behind it."""

    def forward(self, features: Tensor) -> Tensor:
        """[N, C, h, w] -> the same shape; in eval mode with the running statistics."""
        if not self.training:
            return torch.as_tensor(super().forward(features))  # type: ignore[no-untyped-call]
        return torch.as_tensor(self.act(self.drop(normalised(features, self))))


def normalised(features: Tensor, layer: nn.BatchNorm2d) -> Tensor:
    """Features [N, C, h, w] less their global mean, over their global deviation, scaled and
    shifted; the running statistics follow. The arithmetic has the weights' precision, as PyTorch's
    has under autocast. Every process must hold equally many samples of one size."""
    wide, channels = features.to(layer.weight.dtype), (1, -1, 1, 1)
    mean = global_mean(wide)
    centred = wide - mean.view(channels)
    variance = global_mean(centred.square())
    follow(layer, mean.detach(), variance.detach(), features[:, 0].numel() * processes.count())
    scale = layer.weight * (variance + layer.eps).rsqrt()
    return (centred * scale.view(channels) + layer.bias.view(channels)).to(features.dtype)


def global_mean(values: Tensor) -> Tensor:
    """Mean per channel of [N, C, h, w] over all processes, [C]."""
    return processes.total(values.mean(dim=(0, 2, 3))) / processes.count()


def follow(layer: nn.BatchNorm2d, mean: Tensor, variance: Tensor, pixels: int) -> None:
    """Move the running statistics towards those of a batch of `pixels`, made unbiased."""
    assert layer.running_mean is not None
    assert layer.running_var is not None
    assert layer.num_batches_tracked is not None
    assert layer.momentum is not None
    layer.running_mean.lerp_(mean, layer.momentum)
    layer.running_var.lerp_(variance * (pixels / (pixels - 1)), layer.momentum)
    layer.num_batches_tracked.add_(1)
