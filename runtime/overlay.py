"""What is drawn over a frame: the coloured mask, a status line, and a legend of its classes."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pictures
from PIL import ImageDraw, ImageFont

from engines.blend import blend
from engines.spec import Colour, ModelSpec
from runtime.source import Image

SHADE = 0.62  # how much darker the strips behind text are: white stays readable on a white sky
SAMPLING = 4  # the legend looks at every 4th pixel of every 4th row: 0.05 ms instead of 1 ms
NOTICEABLE = 0.0005  # share of the frame below which a class would only make the legend flicker


class Overlay:
    """Draws masks, a status line at the top and a legend of the visible classes at the bottom.

    Args:
        spec: Gives class names and colours.
        title: A part of the status line, for example "int8 on cpu".
        alpha: Opacity of the mask, 0 to 1.
        notice: Says what the status line ends with at the moment; empty for nothing.

    `title` and `alpha` may be set from any thread, from the next picture on.
    """

    def __init__(
        self, spec: ModelSpec, title: str, alpha: float, notice: Callable[[], str] = str
    ) -> None:
        self.palette = spec.palette
        self._classes = tuple(zip(spec.classes, spec.palette, strict=True))
        self.title = title
        self.alpha = alpha
        self._notice = notice

    def draw(self, frame: Image, labels: NDArray[np.uint8], fps: float, age: float) -> Image:
        """A new picture [H, W, 3]: the frame under its mask, status and legend.

        `fps` in frames/s; `age` in seconds since the frame was captured.
        """
        picture = blend(frame, labels, self.palette, self.alpha)
        self.write(picture, labels, fps, age)
        return picture

    def write(self, picture: Image, labels: NDArray[np.uint8], fps: float, age: float) -> None:
        """Status and legend, in place, over a frame that has its colours already."""
        height, width = labels.shape
        parts = f"{fps:.0f} FPS", f"age {1e3 * age:.0f} ms", self.title, self._notice()
        status = "   ".join(part for part in parts if part)
        stamp(picture, status_strip(status, width, font_size(height)), top=True)
        visible = tuple(self._classes[index] for index in present(labels, len(self._classes)))
        stamp(picture, legend_strip(visible, width, font_size(height)), top=False)


def present(labels: NDArray[np.uint8], classes: int) -> tuple[int, ...]:
    """The classes that cover a noticeable share of the labels [H, W], in class order."""
    sample = labels[::SAMPLING, ::SAMPLING]
    counts = np.bincount(sample.ravel(), minlength=256)[:classes]
    return tuple(np.flatnonzero(counts > NOTICEABLE * sample.size).tolist())


def font_size(height: int) -> int:
    """Text height in pixels for a frame: 13 at 360 rows, 20 at 540, 40 at 1080."""
    return max(11, height // 27)


class Strip:
    """A band of text, ready to be put on a picture: per pixel `keep` of it, plus `ink`."""

    def __init__(self, canvas: Pictures.Image) -> None:
        ink = np.asarray(canvas, np.uint16)  # [h, w, 4] RGBA
        solid = ink[..., 3:]
        self.ink = ink[..., :3] * solid
        self.keep = np.round((255 - solid) * (1 - SHADE)).astype(np.uint16)


@lru_cache(maxsize=32)  # of 3.7 MB each at 3840x2160
def status_strip(text: str, width: int, size: int) -> Strip:
    """One line of text; frame rates and ages repeat, so most frames find theirs ready."""
    height = size + size // 2
    canvas = Pictures.new("RGBA", (width, height))
    ImageDraw.Draw(canvas).text((size // 2, height / 2), text, "white", _font(size), anchor="lm")
    return Strip(canvas)


@lru_cache(maxsize=16)
def legend_strip(entries: tuple[tuple[str, Colour], ...], width: int, size: int) -> Strip:
    """Colour swatches with names, in as many rows as the width needs."""
    places, rows = _flow([name for name, _ in entries], width, size)
    line = size + size // 2
    canvas = Pictures.new("RGBA", (width, max(1, rows * line)))
    pen = ImageDraw.Draw(canvas)
    for (name, colour), (x, row) in zip(entries, places, strict=True):
        y = row * line + size // 4
        pen.rectangle((x, y, x + size, y + size), (*colour, 255), outline="white")
        pen.text((x + size + size // 3, y + size / 2), name, "white", _font(size), anchor="lm")
    return Strip(canvas)


def _flow(names: list[str], width: int, size: int) -> tuple[list[tuple[int, int]], int]:
    """Left edge and row of each legend entry, and the number of rows."""
    places = []
    x, row = size // 2, 0
    for name in names:
        needed = round(_font(size).getlength(name)) + 2 * size + size // 3
        if x + needed > width and x > size // 2:
            x, row = size // 2, row + 1
        places.append((x, row))
        x += needed
    return places, row + 1 if names else 0


@lru_cache(maxsize=8)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def stamp(picture: Image, strip: Strip, *, top: bool) -> None:
    """Put a strip of the picture's width on its first or last rows, in place."""
    height = strip.keep.shape[0]
    if height > picture.shape[0] // 2:  # a picture this small is all mask
        return
    band = picture[:height] if top else picture[-height:]
    band[...] = (band * strip.keep + strip.ink) // 255
