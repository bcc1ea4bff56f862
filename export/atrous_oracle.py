"""Atrous convolution written out position by position: the oracle that every engine is held to.

    y[i] = sum over k of w[k] x[stride i + rate k - padding]        (Chen et al. 2018, equation 1)

Rows, columns and taps are plain loops, because that is where a rate, a stride or a border can be
wrong; only the sum over channels is a matrix product. It shares nothing with the convolutions of
PyTorch and onnxruntime. Sums are float64, so its own error is far below float32's rounding.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
Padding = tuple[int, int, int, int]  # rows above, columns left, rows below, columns right


def effective_kernel(kernel: int, rate: int) -> int:
    """Pixels that a kernel spans when rate - 1 holes stand between its taps (v3+, section 3.1)."""
    return kernel + (kernel - 1) * (rate - 1)


def atrous_convolution(
    features: NDArray[np.floating],
    weight: NDArray[np.floating],
    bias: NDArray[np.floating] | None = None,
    *,
    rate: int = 1,
    stride: int = 1,
    padding: Padding = (0, 0, 0, 0),
    groups: int = 1,
) -> Doubles:
    """[N, C, H, W] and [O, C/groups, kH, kW] -> [N, O, h, w]; what lies outside counts as zero.

    h = (H + above + below - effective_kernel) // stride + 1, and so for w. An output that would
    have no position raises `ValueError`.
    """
    pixels, kernel = features.astype(np.float64), weight.astype(np.float64)
    size = output_size(pixels.shape[2:], kernel.shape[2:], rate, stride, padding)
    result = np.zeros((len(pixels), len(kernel), *size))
    for row, column in np.ndindex(*size):
        corner = row * stride - padding[0], column * stride - padding[1]
        for (i, j), (y, x) in taps(pixels.shape[2:], kernel.shape[2:], corner, rate):
            result[:, :, row, column] += mix(pixels[:, :, y, x], kernel[:, :, i, j], groups)
    return result if bias is None else result + bias.astype(np.float64)[:, None, None]


def output_size(
    size: tuple[int, ...], kernel: tuple[int, ...], rate: int, stride: int, padding: Padding
) -> tuple[int, int]:
    """Rows and columns of the result."""
    spans = [effective_kernel(width, rate) for width in kernel]
    rows, columns = (
        (pixels + padding[axis] + padding[axis + 2] - span) // stride + 1
        for axis, (pixels, span) in enumerate(zip(size, spans, strict=True))
    )
    if min(rows, columns) < 1:
        raise ValueError(f"a kernel that spans {spans} does not fit a padded map of {size}")
    return rows, columns


def taps(
    size: tuple[int, ...], kernel: tuple[int, ...], corner: tuple[int, int], rate: int
) -> Iterator[tuple[tuple[int, ...], tuple[int, int]]]:
    """Each tap that lands inside the map, and the pixel under it; `corner` is the first tap's."""
    for tap in np.ndindex(*kernel):
        y, x = corner[0] + rate * tap[0], corner[1] + rate * tap[1]
        if 0 <= y < size[0] and 0 <= x < size[1]:
            yield tap, (y, x)


def mix(pixel: Doubles, weight: Doubles, groups: int) -> Doubles:
    """One tap's sum over channels: [N, C] and [O, C/groups] -> [N, O]."""
    count, outputs = len(pixel), len(weight)
    split = pixel.reshape(count, groups, -1)
    matrices = weight.reshape(groups, outputs // groups, -1)
    product: Doubles = np.einsum("ngi,goi->ngo", split, matrices)
    return product.reshape(count, outputs)
