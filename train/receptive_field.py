"""How much of the image a network sees: the theoretical receptive field of one of its logits.

A convolution or pool with kernel k and rate r, whose input positions are `step` pixels apart,
widens the field by (k - 1) r step pixels; its stride s makes the step s times as long. A bilinear
resize reads two neighbours, which widens the field by one step, and shortens the step. Where paths
meet, the widest counts. What is averaged over the whole map (image pooling, squeeze-and-excitation)
sees everything and is left out: the number tells how far the convolutions reach.

The operators are those that PyTorch really runs, not a list of layers, so additions,
concatenations and branches are followed wherever they happen.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

aten = torch.ops.aten


@dataclass(frozen=True)
class Footprint:
    """The pixels that one position of a map depends on, and how far apart two positions are."""

    field: float = 1
    step: float = 1


def receptive_field(network: nn.Module) -> int:
    """Side of the receptive field in pixels; on the meta device this takes no arithmetic.

    The network is in eval mode; it runs once on a square image.
    """
    device = next(network.parameters()).device
    images = torch.zeros(1, 3, 128, 128, device=device)
    with torch.no_grad(), Footprints(images) as footprints:
        logits = network(images)
    return int(footprints.of(logits).field)


class Footprints(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own base
    """While active, follows the footprint of everything that is computed from `images`."""

    def __init__(self, images: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._known = WeakTensorKeyDictionary()
        self._known[images] = Footprint()

    def of(self, tensor: Tensor) -> Footprint:
        """The footprint of a tensor that depends on the images."""
        footprint: Footprint = self._known[tensor]
        return footprint

    def __torch_dispatch__(
        self, operator: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if operator is aten.native_batch_norm.default:
            return args[0], args[1], args[2]  # only shapes matter, and torch's takes 20 ms here
        result = operator(*args, **(kwargs or {}))
        sources = [self._known[t] for t in tensors(args) if t in self._known]
        outputs = list(tensors([result]))
        if sources and outputs and not averages_all(operator, args):
            widest = Footprint(max(s.field for s in sources), max(s.step for s in sources))
            for output in outputs:
                self._known[output] = widened(widest, operator, args, output)
        return result


def tensors(values: Iterable[Any]) -> Iterable[Tensor]:
    """The tensors among an operator's arguments or results, lists included."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from tensors(value)


def averages_all(operator: Any, args: Any) -> bool:
    """Whether an operator takes the mean over height and width."""
    return operator is aten.mean.dim and {dim % 4 for dim in args[1]} >= {2, 3}


def widened(source: Footprint, operator: Any, args: Any, output: Tensor) -> Footprint:
    """The footprint behind one operator."""
    if operator is aten.convolution.default:
        _, weight, _, stride, _, dilation, transposed, *_ = args
        assert not transposed
        return through_window(source, weight.shape[-1], stride[-1], dilation[-1])
    if operator in (aten.max_pool2d_with_indices.default, aten.avg_pool2d.default):
        kernel, stride = args[1][-1], (args[2] or args[1])[-1]
        return through_window(source, kernel, stride, 1)
    if operator.overloadpacket is aten.upsample_bilinear2d:
        # 33 positions at stride 16 (of 513 pixels) become 129 at stride 4: the factor means 4
        factor = round(output.shape[-1] / args[0].shape[-1])
        return Footprint(source.field + source.step, source.step / factor)
    return source


def through_window(source: Footprint, kernel: int, stride: int, rate: int) -> Footprint:
    """The footprint behind a convolution or pool."""
    return Footprint(source.field + (kernel - 1) * rate * source.step, source.step * stride)
