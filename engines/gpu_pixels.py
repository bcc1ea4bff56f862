"""The pixel loops on an NVIDIA GPU: camera image to frame, to model input, to labels, to picture.

The kernels are in engines/pixels.cu; each gives the same bits as its twin in `engines.twins`, and
`Stretcher` the same as `engines.preprocess.fit_frame`. Buffers hold uint8 frames [H, W, 3] RGB,
labels [H, W] and float32 logits [C, h, w], row by row without padding, and stay on the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engines.blend import Colour, mixing_table
from engines.borrowed_device import borrow
from engines.device import Buffer, Device, Kernels, uploaded
from engines.kernels import KernelSource
from engines.stretch import Filter, Stretch
from engines.twins import taps

FORMS = ("rgb", "bgr", "nv12", "yuyv")
Size = tuple[int, int]  # height, width


def source() -> KernelSource:
    """The kernels. Labels are the twin's to the bit only without fused multiply-adds."""
    return KernelSource.read(Path(__file__).with_name("pixels.cu"), contract=False)


class GpuPixels:
    """The kernels, and what all that is made with them allocates on a device; use with `with`.

    Attributes:
        device: Others may allocate through it: `close` gives all buffers back, not the GPU.
    """

    def __init__(self, device: Device) -> None:
        self.device = borrow(device)
        self.run = Kernels(device, source())

    def close(self) -> None:
        """Give the buffers back; once is enough."""
        self.device.close()

    def __enter__(self) -> GpuPixels:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class Camera:
    """Camera images of one form, size and stride to frames.

    Args:
        pixels: Keeps the buffers.
        form: One of FORMS; "yuyv" is Y U Y V for two pixels, "nv12" rows of Y, then half as many of
            U V. Both are BT.601 with luma from 16 to 235, and no colour is interpolated.
        size: Height and width.
        stride: Bytes from a row to the next; None: rows without padding.

    Attributes:
        frame: The last frame.
    """

    def __init__(self, pixels: GpuPixels, form: str, size: Size, stride: int | None = None) -> None:
        self._pixels, self._form, self._size = pixels, form, size
        height, width = size
        pairs = -(-width // 2)
        shortest = {"rgb": 3 * width, "bgr": 3 * width, "yuyv": 4 * pairs, "nv12": 2 * pairs}[form]
        self._stride = shortest if stride is None else stride
        rows = height + -(-height // 2) if form == "nv12" else height
        if self._stride < shortest:
            raise ValueError(f"a row of {width} pixels in {form} is longer than {stride} bytes")
        self.shape = (rows, self._stride)
        self._image = pixels.device.allocate(rows * self._stride)
        plain = form == "rgb" and self._stride == shortest
        self.frame = self._image if plain else pixels.device.allocate(3 * height * width)

    def take(self, image: NDArray[np.uint8]) -> Buffer:
        """The frame of a camera image uint8 `shape`; valid until the next one."""
        if image.dtype != np.uint8 or image.size != self.shape[0] * self.shape[1]:
            raise ValueError(
                f"a camera image is uint8 {self.shape}, got {image.dtype} {image.shape}"
            )
        self._pixels.device.upload(np.ascontiguousarray(image), self._image)
        if self.frame is not self._image:
            self._convert()
        return self.frame

    def _convert(self) -> None:
        height, width = self._size
        image = self._image, height, width, self._stride
        if self._form in ("rgb", "bgr"):
            red = 0 if self._form == "rgb" else 2
            self._pixels.run("pack_rgb", height * width, *image, red, self.frame)
        else:
            self._pixels.run(f"{self._form}_to_rgb", height * width, *image, self.frame)


class Stretcher:
    """`engines.preprocess.fit_frame` for frames of one size, to another.

    Raises:
        UsageError: It would shrink frames by more than about 127 times.
    """

    def __init__(self, pixels: GpuPixels, size: Size, source: Size) -> None:
        self._pixels, self._size, self._source = pixels, size, source
        if size == source:  # such a frame is its own model input
            return
        stretch = Stretch.of(size, source)
        self._paired = int(stretch.paired)
        self._luma, self._chroma, self._rows = (
            _kept(pixels, taps) for taps in (stretch.luma, stretch.chroma, stretch.rows)
        )
        self._columns = pixels.device.allocate(2 * 3 * source[0] * size[1])
        self._fitted = pixels.device.allocate(3 * size[0] * size[1])

    def fit(self, frame: Buffer) -> Buffer:
        """A frame stretched; valid until the next one."""
        if self._size == self._source:
            return frame
        (height, width), (source_height, source_width) = self._size, self._source
        self._pixels.run(
            "stretch_rows", source_height * width, frame, source_height, source_width, width,
            self._paired, *self._luma, *self._chroma, self._columns,
        )  # fmt: skip
        self._pixels.run(
            "stretch_columns", height * width, self._columns, source_height, height, width,
            *self._rows, self._fitted,
        )  # fmt: skip
        return self._fitted


class Labeller:
    """`engines.labels.upsample_argmax` for logits of one shape [C, h, w] and frames of one size."""

    def __init__(self, pixels: GpuPixels, shape: tuple[int, int, int], size: Size) -> None:
        self._pixels, self._shape, self._size = pixels, shape, size
        self._rows, self._columns = (
            (uploaded(pixels.device, low.astype(np.int32)), uploaded(pixels.device, weight))
            for low, _, weight in (taps(size[0], shape[1]), taps(size[1], shape[2]))
        )
        self._winners = pixels.device.allocate(shape[1] * shape[2])

    def label(self, logits: Buffer, labels: Buffer) -> None:
        """Fill labels [H, W]."""
        classes, height, width = self._shape
        points = height * width
        self._pixels.run("find_winners", points, logits, classes, points, self._winners)
        self._pixels.run(
            "label_pixels", self._size[0] * self._size[1], logits, self._winners, *self._shape,
            *self._rows, *self._columns, *self._size, labels,
        )  # fmt: skip


class Painter:
    """`engines.blend.blend` with one palette; the opacity may change from frame to frame."""

    def __init__(self, pixels: GpuPixels, palette: Sequence[Colour]) -> None:
        self._pixels, self._palette = pixels, tuple(palette)
        self._table = pixels.device.allocate(256 * 3 * 256)
        self._alpha: float | None = None

    def blend(self, frame: Buffer, labels: Buffer, count: int, alpha: float, mixed: Buffer) -> None:
        """Fill mixed [count, 3]: (1 - alpha) frame + alpha of each label's colour."""
        if alpha != self._alpha:
            self._pixels.device.upload(mixing_table(self._palette, alpha), self._table)
            self._alpha = alpha
        self._pixels.run("blend", count, frame, labels, self._table, count, mixed)


def _kept(pixels: GpuPixels, taps: Filter) -> tuple[Buffer, Buffer, int]:
    """First, weight and reach, as the kernels take a filter."""
    first, weight = (
        uploaded(pixels.device, part.astype(np.int32)) for part in (taps.first, taps.weight)
    )
    return first, weight, taps.reach
