"""Weights with the batch norm folded in, put back into a network that has batch norms.

Each batch norm then only adds its bias: mean 0, variance 1 - eps, gamma 1. So a network that was
fine-tuned without them keeps the family's form, and evaluation and export need to know nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from train.initial_weights import insert


@torch.no_grad()
def batch_norms(network: nn.Module, size: tuple[int, int]) -> dict[str, nn.BatchNorm2d]:
    """Path of each convolution -> the batch norm that reads its result, seen in one forward pass
    of an image of `size`; `network` is in eval mode."""
    outputs: dict[int, tuple[str, Tensor]] = {}  # the tensors too: an id is only theirs while alive
    found: dict[str, nn.BatchNorm2d] = {}

    def remember(path: str, output: Tensor) -> None:
        outputs[id(output)] = path, output

    def look_up(norm: nn.BatchNorm2d, features: Tensor) -> None:
        if id(features) in outputs:
            found[outputs[id(features)][0]] = norm

    hooks = []
    for path, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d):
            hooks.append(
                layer.register_forward_hook(lambda _, __, out, path=path: remember(path, out))
            )
        elif isinstance(layer, nn.BatchNorm2d):
            hooks.append(layer.register_forward_pre_hook(lambda norm, args: look_up(norm, args[0])))
    network(torch.zeros(1, 3, *size))
    for hook in hooks:
        hook.remove()
    return found


@torch.no_grad()
def fill_folded(
    network: nn.Module, weights: Mapping[str, Tensor], norms: Mapping[str, nn.BatchNorm2d]
) -> None:
    """Copy folded weights (`path.weight`, `path.bias`) into the convolutions and batch norms."""
    for name, value in weights.items():
        path, _, kind = name.rpartition(".")
        layer = network.get_submodule(path)
        if kind == "bias" and path in norms:
            norm = norms[path]
            insert(norm, value, torch.zeros_like(value), torch.full_like(value, 1 - norm.eps))
        layer_bias = kind == "bias" and layer.bias is not None
        if kind == "weight" or layer_bias:
            own = layer.get_parameter(kind)
            own.copy_(torch.zeros_like(value) if layer_bias and path in norms else value)
