"""The ONNX operators that the family exports to, in PyTorch, so that an exported graph can learn.

Each takes the node's attributes and its inputs: tensors, and plain numbers for constants. There may
be more images than the one that was exported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from engines.failures import Refused

Attributes = Mapping[str, Any]


def convolution(
    attributes: Attributes, features: Tensor, weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    """Conv of [N, in, h, w]."""
    return functional.conv2d(
        features,
        weight,
        bias,
        stride=attributes.get("strides", 1),
        padding=padding(attributes),
        dilation=attributes.get("dilations", 1),
        groups=attributes.get("group", 1),
    )


def max_pool(attributes: Attributes, features: Tensor) -> Tensor:
    """MaxPool of [N, C, h, w]."""
    return functional.max_pool2d(
        features,
        attributes["kernel_shape"],
        stride=attributes.get("strides", 1),
        padding=padding(attributes),
        dilation=attributes.get("dilations", 1),
        ceil_mode=bool(attributes.get("ceil_mode", 0)),
    )


def average_pool(attributes: Attributes, features: Tensor) -> Tensor:
    """AveragePool of [N, C, h, w]."""
    return functional.avg_pool2d(
        features,
        attributes["kernel_shape"],
        stride=attributes.get("strides", 1),
        padding=padding(attributes),
        ceil_mode=bool(attributes.get("ceil_mode", 0)),
        count_include_pad=bool(attributes.get("count_include_pad", 0)),
    )


def padding(attributes: Attributes) -> list[int]:
    """Vertical and horizontal padding; ONNX has four sides, of which PyTorch's layers have two."""
    top, left, bottom, right = attributes.get("pads", (0, 0, 0, 0))
    if (top, left) != (bottom, right):
        raise Refused(f"--qat cannot train a layer with the padding {attributes['pads']}")
    return [top, left]


def resize(
    attributes: Attributes, features: Tensor, roi: None, scales: None, sizes: Sequence[int]
) -> Tensor:
    """Bilinear Resize to `sizes` [N, C, h, w], whose N is the export's."""
    mode, grid = attributes["mode"], attributes["coordinate_transformation_mode"]
    if mode != b"linear" or grid not in (b"half_pixel", b"pytorch_half_pixel"):
        raise Refused(f"--qat cannot train a Resize of mode {mode.decode()} on a {grid.decode()}")
    return functional.interpolate(features, sizes[2:], mode="bilinear", align_corners=False)


def expand(_: Attributes, features: Tensor, shape: Sequence[int]) -> Tensor:
    """Expand: in each dimension one of the two is 1, or both are equal."""
    return features.expand([max(sizes) for sizes in zip(features.shape, shape, strict=True)])


def reduce_mean(attributes: Attributes, features: Tensor, axes: Sequence[int]) -> Tensor:
    """ReduceMean over `axes`."""
    return features.mean(tuple(axes), keepdim=bool(attributes.get("keepdims", 1)))


def hard_sigmoid(attributes: Attributes, features: Tensor) -> Tensor:
    """max(0, min(1, alpha x + beta))."""
    result: Tensor = attributes["alpha"] * features + attributes["beta"]
    return result.clamp(0, 1)


def clip(_: Attributes, features: Tensor, low: float, high: float) -> Tensor:
    """Clip, as ReLU6 exports to."""
    return features.clamp(low, high)


OPERATORS: dict[str, Callable[..., Tensor]] = {
    "Add": lambda _, x, y: x + y,
    "AveragePool": average_pool,
    "Clip": clip,
    "Concat": lambda attributes, *parts: torch.cat(parts, attributes["axis"]),
    "Conv": convolution,
    "Expand": expand,
    "HardSigmoid": hard_sigmoid,
    "HardSwish": lambda _, x: functional.hardswish(x),
    "MaxPool": max_pool,
    "Mul": lambda _, x, y: x * y,
    "ReduceMean": reduce_mean,
    "Relu": lambda _, x: x.relu(),
    "Resize": resize,
}
