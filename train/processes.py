"""The processes of one training run (torchrun starts them) and the sums that they form together.

A process without companions needs no group: for it every function here is the identity. The
processes' random streams run in lockstep: each draws for the whole global batch and uses its part,
so that a number drawn does not depend on how many processes there are.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor
from torch import distributed as dist

from engines.failures import DeviceMissing

if TYPE_CHECKING:
    from lightning.fabric import Fabric

T = TypeVar("T")


def connect(precision: str) -> Fabric:
    """This process's device, joined with the others that torchrun has started (NCCL on GPUs, gloo
    on CPUs); raises `DeviceMissing` for more processes than GPUs on this machine."""
    from lightning.fabric import Fabric
    from lightning.fabric.strategies.ddp import DDPStrategy

    here, everywhere = (int(os.environ.get(n, 1)) for n in ("LOCAL_WORLD_SIZE", "WORLD_SIZE"))
    if everywhere == 1:
        return Fabric(accelerator="auto", devices=1, precision=precision)  # type: ignore[arg-type]
    if torch.cuda.is_available() and torch.cuda.device_count() < here:
        raise DeviceMissing(
            f"{here} processes share {torch.cuda.device_count()} GPUs: start torchrun with "
            f"--nproc-per-node {torch.cuda.device_count()}"
        )
    fabric = Fabric(
        accelerator="auto",
        strategy=DDPStrategy(static_graph=True),  # else an unused parameter stops it
        devices=here,
        num_nodes=everywhere // here,
        precision=precision,  # type: ignore[arg-type]
    )
    fabric.launch()
    return fabric


@contextmanager
def joined() -> Iterator[None]:
    """The group of the processes that torchrun has started, for work on the CPU."""
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        yield
        return
    dist.init_process_group("gloo")
    yield
    dist.destroy_process_group()


def count() -> int:
    """How many processes there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """The number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def share(items: Sequence[T]) -> Sequence[T]:
    """Every `count()`-th item from this process's own on."""
    return items[rank() :: count()]


def total(value: Tensor) -> Tensor:
    """The sum over all processes, differentiable.

    Every process then computes the same loss from it, and DDP averages the gradients of these
    `count()` equal losses: the result is the gradient of one.
    """
    if count() == 1:
        return value
    result: Tensor = _Total.apply(value)
    return result


class _Total(torch.autograd.Function):
    """y = sum of all x, so dL/dx = sum of all dL/dy."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return _summed(value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _summed(gradient)


def _summed(value: Tensor) -> Tensor:
    result = value.detach().clone(memory_format=torch.contiguous_format)
    dist.all_reduce(result)
    return result


def gathered(value: T) -> list[T]:
    """The values of all processes, by rank."""
    if count() == 1:
        return [value]
    values: list[Any] = [None] * count()
    dist.all_gather_object(values, value)
    return values
