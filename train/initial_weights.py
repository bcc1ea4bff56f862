"""Start MobileNetV2 from a published network whose batch norms were folded into its convolutions.

The .npz holds `NN/w` [O, I/groups, kH, kW] and `NN/b` [O] in network order. Fine-tuning wants batch
norm back, so each bias b becomes a batch norm with gamma = sqrt(v + eps), beta = b + m, mean = m,
var = v: it computes x + b whatever m and v are, and with m and v measured on the training frames
the running statistics are right from the first step.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from engines.failures import Refused


def import_folded(backbone: nn.Module, path: Path, batches: Iterable[Tensor]) -> None:
    """Fill a timm backbone from a folded .npz.

    `batches` are normalised images [N, 3, H, W]; one pass over them gives each batch norm its mean
    and variance. A file that does not fit raises `Refused`.
    """
    pairs = conv_bn_pairs(backbone)
    for index, (conv, bn) in enumerate(pairs):
        weight, bias = read_layer(path, index)
        if weight.shape != conv.weight.shape:
            raise Refused(
                f"{path} does not fit this backbone: layer {index} is {tuple(weight.shape)} in the "
                f"file and {tuple(conv.weight.shape)} in the network; these are MobileNetV2 weights"
            )
        conv.weight.data.copy_(weight)
        insert(bn, bias, torch.zeros_like(bias), torch.ones_like(bias))
    for (_, bn), (mean, var) in zip(pairs, measure(backbone, pairs, batches), strict=True):
        insert(bn, bn.bias.data, mean, var)


def insert(bn: nn.BatchNorm2d, bias: Tensor, mean: Tensor, var: Tensor) -> None:
    """Make `bn` compute x + bias with running statistics `mean` and `var`."""
    assert bn.running_mean is not None
    assert bn.running_var is not None
    bn.weight.data.copy_((var + bn.eps).sqrt())
    bn.bias.data.copy_(bias + mean)
    bn.running_mean.copy_(mean)
    bn.running_var.copy_(var)


def conv_bn_pairs(backbone: nn.Module) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Every convolution with the batch norm that follows it, in network order."""
    layers = [m for m in backbone.modules() if isinstance(m, nn.Conv2d | nn.BatchNorm2d)]
    convs, norms = layers[::2], layers[1::2]
    pairs = []
    for conv, bn in zip(convs, norms, strict=True):
        assert isinstance(conv, nn.Conv2d)
        assert isinstance(bn, nn.BatchNorm2d)
        pairs.append((conv, bn))
    return pairs


def read_layer(path: Path, index: int) -> tuple[Tensor, Tensor]:
    """Weight and bias of layer `index`."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            weight, bias = arrays[f"{index:02d}/w"], arrays[f"{index:02d}/b"]
    except FileNotFoundError:
        raise Refused(f"no initial weights at {path}: give the .npz file with --init") from None
    except (KeyError, OSError, ValueError, zipfile.BadZipFile) as error:
        raise Refused(f"{path} holds no usable layer {index:02d}: {error}") from error
    return torch.from_numpy(weight), torch.from_numpy(bias)


@dataclass
class Moments:
    """Sums over batches and space of one layer's output. Within a batch torch's `var_mean` is
    exact enough in float32; the sums over batches are float64."""

    count: int = 0
    total: Tensor = field(default_factory=lambda: torch.zeros(1, dtype=torch.float64))
    squares: Tensor = field(default_factory=lambda: torch.zeros(1, dtype=torch.float64))

    def add(self, output: Tensor) -> None:
        """Add an output [N, C, h, w]."""
        var, mean = (t.double() for t in torch.var_mean(output, dim=(0, 2, 3), correction=0))
        count = output.numel() // output.shape[1]
        self.count += count
        self.total = self.total + count * mean
        self.squares = self.squares + count * (var + mean.square())

    def mean_and_variance(self) -> tuple[Tensor, Tensor]:
        """Per-channel mean and (biased) variance as float32."""
        mean = self.total / self.count
        variance = (self.squares / self.count - mean.square()).clamp(min=0)
        return mean.float(), variance.float()


@torch.no_grad()
def measure(
    backbone: nn.Module,
    pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d]],
    batches: Iterable[Tensor],
) -> list[tuple[Tensor, Tensor]]:
    """Mean and variance of each convolution's output over `batches`, in evaluation mode."""
    moments = [Moments() for _ in pairs]
    hooks = [
        conv.register_forward_hook(lambda _m, _i, output, moment=moment: moment.add(output))
        for (conv, _), moment in zip(pairs, moments, strict=True)
    ]
    backbone.eval()
    for batch in batches:
        backbone(batch)
    for hook in hooks:
        hook.remove()
    return [moment.mean_and_variance() for moment in moments]
