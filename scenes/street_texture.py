"""Textures of the street: colour and label in one texel, as a pyramid of halved sizes.

One gather draws colour and label together, so that the labels are what was drawn by construction.
Label 255 is a hole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from scenes.dataset import IGNORE, Colour, Frame, Labels
from scenes.street_light import Light, Texels, tinted

Point = tuple[float, float]  # metres: x from the left edge, y up from the bottom

HOLE = np.uint32(IGNORE << 24)


@dataclass(frozen=True, eq=False)
class Level:
    """One size of a texture, column by column, with a hole above and below each column.

    Texel (row, column) is `texels[column * (rows + 2) + 1 + row]`: rows out of range can be clamped
    to the holes at either end instead of masked.
    """

    texels: Texels
    rows: int
    columns: int
    density: float  # texels per metre
    _hazed: dict[Light, Texels] = field(default_factory=dict)

    def hazed(self, light: Light) -> Texels:
        """The texels under a hazy light, kept for the next time."""
        if light not in self._hazed:
            self._hazed[light] = tinted(self.texels, light)
        return self._hazed[light]


@dataclass(frozen=True, eq=False)
class Texture:
    """A picture of `width` x `height` metres; level k has half the density of level k - 1."""

    levels: tuple[Level, ...]
    width: float
    height: float

    def picture(self, step: int) -> Image.Image:
        """One of its levels as an RGBA picture."""
        level = self.levels[step]
        texels = level.texels.reshape(level.columns, -1)[:, 1:-1].T
        channels = np.ascontiguousarray(texels)[..., None].view(np.uint8)
        channels[..., 3] = np.where(texels < HOLE, 255, 0)
        return Image.fromarray(channels)

    def level(self, texels_per_pixel: float) -> Level:
        """The finest level with at most 1.25 texels a pixel, given how many level 0 has."""
        steps = 0
        while texels_per_pixel > 1.25 and steps < len(self.levels) - 1:
            texels_per_pixel /= 2
            steps += 1
        return self.levels[steps]


def rgb(colour: Colour) -> NDArray[np.float32]:
    """A colour to calculate with."""
    return np.array(colour, np.float32)


def pack(colour: Frame, labels: Labels) -> Texels:
    """Colour [H, W, 3] and labels [H, W] as texels [H, W]."""
    channels = np.concatenate([colour, labels[..., None]], axis=-1)
    return np.ascontiguousarray(channels).view("<u4")[..., 0]


def build_texture(
    picture: Image.Image, label: int, density: float, levels: int = 5, keep: float = 0.5
) -> Texture:
    """The pyramid of an RGBA picture; a texel is solid where at least `keep` of its area is.

    Coverage is carried down, so thin things fade by area and not by luck. The picture is padded
    with holes on the right and top to a multiple of 2^(levels - 1).
    """
    step = 1 << (levels - 1)
    columns, rows = (-(-size // step) * step for size in picture.size)
    padded = Image.new("RGBA", (columns, rows))
    padded.paste(picture, (0, rows - picture.height))
    width, height = columns / density, rows / density
    built = []
    weighted = padded.convert("RGBa")  # colours times coverage: means of these are right
    for _ in range(levels):
        built.append(_level(np.asarray(weighted.convert("RGBA")), label, density, keep))
        weighted, density = weighted.reduce(2), density / 2
    return Texture(tuple(built), width, height)


def joined(parts: Sequence[tuple[Texture, float]], densities: tuple[float, ...]) -> Texture:
    """Textures side by side, each stretched to the given width in metres, for a far view.

    Needs every part to have levels of the `densities`, each half of the one before.
    """
    height = max(texture.height for texture, _ in parts)
    levels = []
    for step in densities:
        rows = round(height * step)
        strips = [_strip(texture, width, step, rows) for texture, width in parts]
        texels = np.concatenate(strips)
        levels.append(Level(texels.ravel(), rows, len(texels), step))
    return Texture(tuple(levels), sum(width for _, width in parts), height)


def _strip(texture: Texture, width: float, density: float, rows: int) -> Texels:
    """The columns of a texture at one density, stretched to a width, padded to `rows` above."""
    level = next(level for level in texture.levels if level.density == density)
    columns = np.arange(round(width * density)) * level.columns // round(width * density)
    texels = level.texels.reshape(level.columns, -1)[columns]
    return np.pad(texels, [(0, 0), (rows - level.rows, 0)], constant_values=HOLE)


class Easel:
    """A picture in the making, in metres: shapes are painted over one another, then built.

    A `smooth` one is painted at twice its density: slanted edges then come out clean.
    """

    def __init__(
        self, width: float, height: float, density: int, label: int, smooth: bool = True
    ) -> None:
        self.width, self.height = width, height
        self._label, self._smooth = label, smooth
        self._scale = density * 2 if smooth else density
        self.picture = Image.new("RGBA", (round(width * self._scale), round(height * self._scale)))
        self._draw = ImageDraw.Draw(self.picture)

    def rectangle(self, x: float, y: float, w: float, h: float, colour: Colour) -> None:
        """Fill the rectangle whose lower left corner is (x, y)."""
        self.polygon([(x, y), (x + w, y), (x + w, y + h), (x, y + h)], colour)

    def polygon(self, points: Sequence[Point], colour: Colour) -> None:
        """Fill a polygon."""
        self._draw.polygon([self._pixel(point) for point in points], fill=(*colour, 255))

    def ellipse(self, x: float, y: float, rx: float, ry: float, colour: Colour) -> None:
        """Fill an upright ellipse with centre (x, y)."""
        (left, top), (right, bottom) = self._pixel((x - rx, y + ry)), self._pixel((x + rx, y - ry))
        box = (left, top, max(left, right), max(top, bottom))
        self._draw.ellipse(box, fill=(*colour, 255))

    def line(self, points: Sequence[Point], width: float, colour: Colour) -> None:
        """Draw a line `width` metres wide."""
        pixels = max(1, round(width * self._scale))
        corners = [self._pixel(point) for point in points]
        self._draw.line(corners, fill=(*colour, 255), width=pixels, joint="curve")

    def multiply(self, factor: NDArray[np.float32]) -> None:
        """Multiply the colours by factors that broadcast to `shape`."""
        texels = np.asarray(self.picture).copy()
        for channel in range(3):  # 0.9 ms for 400x500; all at once 3.3
            texels[..., channel] = np.minimum(texels[..., channel] * factor, 255)
        self.picture = Image.fromarray(texels)
        self._draw = ImageDraw.Draw(self.picture)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the picture while it is painted."""
        return self.picture.height, self.picture.width

    def build(self, levels: int = 5, keep: float = 0.5) -> Texture:
        """The finished texture."""
        extra = 1 if self._smooth else 0
        fine = build_texture(self.picture, self._label, self._scale, levels + extra, keep)
        return Texture(fine.levels[extra:], fine.width, fine.height)

    def _pixel(self, point: Point) -> tuple[int, int]:
        x, y = point
        return round(x * self._scale), round((self.height - y) * self._scale) - 1


def grain(
    rng: np.random.Generator, shape: tuple[int, int], strengths: dict[int, float]
) -> NDArray[np.float32]:
    """Factors around 1, [rows, columns]: the sum of smooth noises of {size in pixels: strength}."""
    total = np.ones(shape, np.float32)
    for size, strength in strengths.items():
        small = (shape[0] // size + 2, shape[1] // size + 2)
        coarse = Image.fromarray(rng.integers(-128, 128, small, dtype=np.int8).astype(np.float32))
        large = (small[1] * size, small[0] * size)
        fine = np.asarray(coarse.resize(large, Image.Resampling.BILINEAR) if size > 1 else coarse)
        total += fine[: shape[0], : shape[1]] * np.float32(strength / 128)
    return total


def _level(picture: NDArray[np.uint8], label: int, density: float, keep: float) -> Level:
    rows, columns = picture.shape[:2]
    bordered = np.full((columns, rows + 2), HOLE, np.uint32)
    marked = picture.copy()
    marked[..., 3] = np.where(picture[..., 3] >= keep * 255, label, IGNORE)
    bordered[:, 1:-1] = marked.view("<u4")[..., 0].T
    return Level(bordered.ravel(), rows, columns, density)
