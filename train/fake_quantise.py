"""INT8 in floating point: values on the grid that the Q/DQ graph has, gradients that pass through.

The forward pass is QuantizeLinear and DequantizeLinear with zero point 0, number for number. The
backward pass is straight-through (Bengio et al. 2013): rounding counts as the identity. The step of
an activation is learned (Esser et al., "Learned Step Size Quantization", ICLR 2020, equations 1 to
5); that of a weight follows from its channel's largest tap, as in the graph.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

LOWEST, HIGHEST = -128, 127  # what QuantizeLinear saturates at
REACH = 127  # steps from 0 to the end of a symmetric range


class _FakeQuantise(torch.autograd.Function):
    """Keeps one tensor for the backward pass, where the same in autograd's own steps keeps five."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, step: Tensor) -> Tensor:
        ctx.save_for_backward(values, step)
        return (values / step).round_().clamp_(LOWEST, HIGHEST).mul_(step)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        values, step = ctx.saved_tensors
        exact = values / step
        inside = (exact >= LOWEST) & (exact <= HIGHEST)
        slope = exact.round().clamp_(LOWEST, HIGHEST) - exact * inside
        return gradient * inside, (gradient * slope).sum()


def fake_quantise(values: Tensor, step: Tensor) -> Tensor:
    """Values of any shape at the nearest multiple of `step` (a scalar) from -128 to 127 times it.

    The gradient passes where nothing saturates; d/dstep is code - value / step there, and the code
    itself where it does.
    """
    result: Tensor = _FakeQuantise.apply(values, step)
    return result


def half_precision(step: Tensor, smallest: float) -> Tensor:
    """Steps, at least `smallest`, at the nearest FP16 number, so that the FP16 graph for TensorRT
    has the very same; straight-through."""
    step = step.clamp(min=smallest * (1 + 2**-10))  # rounded down, it is still at least `smallest`
    return step.detach().half().float() + (step - step.detach())


def fake_quantise_weight(weight: Tensor, smallest_range: float, keep_sums: bool) -> Tensor:
    """A weight [out, ...] on its INT8 grid, one step for each output channel; straight-through.

    `smallest_range` is what the Q/DQ writer widens narrower channels to, `keep_sums` its rounding
    of depthwise weights.
    """
    with torch.no_grad():
        taps = round_keeping_sums(weight) if keep_sums else weight
        flat = taps.flatten(1)
        low, high = flat.amin(1).clamp(max=0), flat.amax(1).clamp(min=0)
        reach = torch.maximum(-low, torch.maximum(high, low + smallest_range))
        step = (reach / REACH).view(-1, *[1] * (weight.dim() - 1))
        rounded = (taps / step).round_().clamp_(LOWEST, HIGHEST).mul_(step)
    return rounded + (weight - weight.detach())


def round_keeping_sums(weight: Tensor) -> Tensor:
    """`calibration.repairs.rounding.round_keeping_sums` for tensors on any device; a test holds
    that the two agree."""
    taps = weight.double().flatten(1)
    step = taps.abs().amax(1, keepdim=True) / REACH
    exact = taps / torch.where(step > 0, step, 1)
    codes = exact.round()
    lost = exact - codes
    missing = lost.sum(1, keepdim=True).round()
    order = (-lost * missing.sign()).argsort(dim=1, stable=True)
    rank = order.argsort(dim=1, stable=True)
    codes += torch.where(rank < missing.abs(), missing.sign(), 0)
    return (codes * step).view_as(weight).float()
