"""What one image costs a network of the family, by name."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch

from train.family import Architecture, build_model
from train.multiply_adds import MultiplyAdds, count, passes
from train.network import Network

GIGA = 1e9


@dataclass(frozen=True)
class Images:
    """What a network runs on: (height, width) in pixels, and how many classes it tells apart."""

    size: tuple[int, int]
    classes: int


@dataclass(frozen=True)
class Strategy:
    """How one image is read: at which scales, and mirrored as well or not."""

    scales: tuple[float, ...] = (1.0,)
    flip: bool = False


ONCE = Strategy()


@dataclass(frozen=True)
class Cost:
    """1e9 multiply-adds for one image with all its scales and mirror images.

    `gmacs` as the papers count (space to batch), `plain_gmacs` as an engine of today executes.
    """

    model: str
    output_stride: int
    size: tuple[int, int]
    classes: int
    scales: tuple[float, ...]
    flip: bool
    gmacs: float
    plain_gmacs: float
    params: int


def cost(model: str, output_stride: int | None, images: Images, strategy: Strategy) -> Cost:
    """Count all forward passes for one image; the output stride is the member's own unless given.

    An unknown architecture or stride raises `UsageError`.
    """
    network, name, stride = build(model, images.classes, output_stride)
    sizes = passes(images.size, strategy.scales, strategy.flip)
    total = sum((one_pass(network, size) for size in sizes), MultiplyAdds())
    return Cost(
        model=name,
        output_stride=stride,
        size=images.size,
        classes=images.classes,
        scales=strategy.scales,
        flip=strategy.flip,
        gmacs=total.space_to_batch / GIGA,
        plain_gmacs=total.plain / GIGA,
        params=sum(parameter.numel() for parameter in network.parameters()),
    )


@cache
def build(model: str, classes: int, output_stride: int | None) -> tuple[Network, str, int]:
    """A network without its weights' numbers, its name in full and its output stride."""
    architecture = Architecture.parse(model)
    stride = architecture.output_stride(output_stride)
    with torch.device("meta"):
        return build_model(model, classes, stride).eval(), str(architecture), stride


one_pass = cache(count)  # many published rows share their passes
