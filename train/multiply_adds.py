"""Multiply-adds of a network, counted on its real modules as they run.

A convolution costs kernel height x kernel width x input channels / groups x output channels
multiply-adds for each position of its output map; batch norm, activations, additions, resizes and
softmax count as nothing. That is the plain count, what an engine of today executes.

The numbers in the DeepLab papers are larger, because TensorFlow 1 had no atrous kernel: it cut the
map into rate x rate interleaved maps (`space_to_batch`), ran a plain convolution over each, and put
the results together again. To cut evenly it first padded each side up to a multiple of the rate,
and the padding is computed and counted like all the rest: 33 x 33 positions at rate 6, 12 or 18
cost as many as 36 x 36, which is 19 % more. The pooled image-level feature counts on its 1 x 1 map.

Counting this way reproduces Table 5 of v3+ within 0.3 % (`python train/complexity.py --table5`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode


@dataclass(frozen=True)
class MultiplyAdds:
    """What one or more forward passes cost, as executed today and as TensorFlow 1 did it."""

    plain: int = 0
    space_to_batch: int = 0

    def __add__(self, other: MultiplyAdds) -> MultiplyAdds:
        return MultiplyAdds(self.plain + other.plain, self.space_to_batch + other.space_to_batch)


def count(network: nn.Module, size: tuple[int, int]) -> MultiplyAdds:
    """Multiply-adds for one image of `size` = (height, width).

    The network is in eval mode. On the meta device the pass has shapes but no numbers: no weight is
    allocated, no product computed, and a network takes milliseconds at any size.
    """
    costs: list[MultiplyAdds] = []

    def note(module: nn.Module, _inputs: object, output: Tensor) -> None:
        assert isinstance(module, nn.Conv2d)
        costs.append(convolution(module, output.shape[2:]))

    convs = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    hooks = [conv.register_forward_hook(note) for conv in convs]
    try:
        device = next(network.parameters()).device
        with torch.inference_mode(), WithoutBatchNorm():
            network(torch.empty(1, 3, *size, device=device))
    finally:
        for hook in hooks:
            hook.remove()
    return sum(costs, MultiplyAdds())


class WithoutBatchNorm(TorchFunctionMode):
    """Batch norm keeps the shape and counts as nothing, yet without a kernel for the meta device it
    is three quarters of a pass's time there (Xception-65: 0.5 s with it, 0.13 s without)."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """See `torch.overrides`."""
        return args[0] if func is functional.batch_norm else func(*args, **(kwargs or {}))


def convolution(conv: nn.Conv2d, output: Sequence[int]) -> MultiplyAdds:
    """Multiply-adds of one layer whose output map has `output` = (height, width) positions."""
    height, width = output
    rates = conv.dilation
    down, across = ceil(height / rates[0]) * rates[0], ceil(width / rates[1]) * rates[1]
    each = conv.weight.numel()  # outputs x inputs / groups x kernel height x kernel width
    return MultiplyAdds(each * height * width, each * down * across)


def passes(
    size: tuple[int, int], scales: Sequence[float] = (1.0,), flip: bool = False
) -> list[tuple[int, int]]:
    """Input sizes of all forward passes of one inference: one per scale, and one per mirror image.

    The original's rule (`scale_dimension`) keeps sizes of the form 32 k + 1: 513 at 0.5 is 257.
    """
    sizes = [(scaled(size[0], scale), scaled(size[1], scale)) for scale in scales]
    return sizes * 2 if flip else sizes


def scaled(pixels: int, scale: float) -> int:
    """One side of the image at a scale."""
    return int((pixels - 1) * scale + 1)
