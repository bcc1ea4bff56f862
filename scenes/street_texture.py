"""Textures of the street: colour and label in one uint32 texel, as a pyramid of halved sizes.

A texel is R | G << 8 | B << 16 | label << 24. One gather draws colour and label together, so the
labels are what was drawn by construction. Label 255 is a hole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from scenes.dataset import IGNORE, Colour, Frame, Labels

Texels = NDArray[np.uint32]
Point = tuple[float, float]  # metres: x from the left edge, y up from the bottom

HOLE = np.uint32(IGNORE << 24)


@dataclass(frozen=True)
class Level:
    """One size of a texture, column by column, with a hole above and below each column.

    Texel (row, column) is `texels[column * (rows + 2) + 1 + row]`: rows out of range can be clamped
    to the holes at either end instead of masked.
    """

    texels: Texels
    rows: int
    columns: int
    density: float  # texels per metre


@dataclass(frozen=True)
class Texture:
    """A picture of `width` x `height` metres; level k has half the density of level k - 1."""

    levels: tuple[Level, ...]
    width: float
    height: float

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


def texel(colour: Colour, label: int) -> int:
    """One texel as a plain integer."""
    return colour[0] | colour[1] << 8 | colour[2] << 16 | label << 24


def build_texture(
    colour: Frame, labels: Labels, density: float, levels: int = 5, keep: float = 0.5
) -> Texture:
    """The pyramid of a picture; a texel is solid where at least `keep` of its area is.

    Coverage is carried down exactly, so thin things fade by area and not by luck; the picture is
    padded with holes on the right and top to a multiple of 2^(levels - 1).
    """
    step = 1 << (levels - 1)
    pad = [(-colour.shape[0] % step, 0), (0, -colour.shape[1] % step)]
    labels = np.pad(labels, pad, constant_values=IGNORE)
    mean = np.pad(colour, [*pad, (0, 0)]).astype(np.float32)
    cover = (labels != IGNORE).astype(np.float32)
    mean *= cover[..., None]
    width, height = labels.shape[1] / density, labels.shape[0] / density
    built = []
    for _ in range(levels):
        solid = cover >= keep
        flat = mean / np.maximum(cover, 1e-6)[..., None]
        texels = np.where(solid, pack((flat + 0.5).astype(np.uint8), labels), HOLE)
        built.append(_level(texels, density))
        mean, cover, labels = _halved(mean, cover, labels)
        density /= 2
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

    def __init__(self, width: float, height: float, density: int, smooth: bool = True) -> None:
        self.width, self.height = width, height
        self._smooth = smooth
        self._scale = density * 2 if smooth else density
        size = (round(width * self._scale), round(height * self._scale))
        self.colour = Image.new("RGB", size)
        self.labels = Image.new("L", size, IGNORE)
        self._colours, self._marks = ImageDraw.Draw(self.colour), ImageDraw.Draw(self.labels)

    def rectangle(self, x: float, y: float, w: float, h: float, colour: Colour, label: int) -> None:
        """Fill the rectangle whose lower left corner is (x, y)."""
        self.polygon([(x, y), (x + w, y), (x + w, y + h), (x, y + h)], colour, label)

    def polygon(self, points: Sequence[Point], colour: Colour, label: int) -> None:
        """Fill a polygon."""
        corners = [self._pixel(point) for point in points]
        self._colours.polygon(corners, fill=colour)
        self._marks.polygon(corners, fill=label)

    def ellipse(self, x: float, y: float, rx: float, ry: float, colour: Colour, label: int) -> None:
        """Fill an upright ellipse with centre (x, y)."""
        (left, top), (right, bottom) = self._pixel((x - rx, y + ry)), self._pixel((x + rx, y - ry))
        box = (left, top, max(left, right), max(top, bottom))
        self._colours.ellipse(box, fill=colour)
        self._marks.ellipse(box, fill=label)

    def line(self, points: Sequence[Point], width: float, colour: Colour, label: int) -> None:
        """Draw a line `width` metres wide."""
        corners = [self._pixel(point) for point in points]
        pixels = max(1, round(width * self._scale))
        self._colours.line(corners, fill=colour, width=pixels, joint="curve")
        self._marks.line(corners, fill=label, width=pixels, joint="curve")

    def multiply(self, factor: NDArray[np.float32]) -> None:
        """Multiply the colours by [H, W] or [H, W, 3], broadcast over the picture."""
        if factor.ndim == 2:
            factor = factor[..., None]
        product = np.asarray(self.colour, np.float32) * factor
        self.colour = Image.fromarray(np.clip(product, 0, 255).astype(np.uint8))
        self._colours = ImageDraw.Draw(self.colour)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the picture while it is painted."""
        return self.labels.height, self.labels.width

    def build(self, levels: int = 5, keep: float = 0.5) -> Texture:
        """The finished texture."""
        colour, labels = np.asarray(self.colour), np.asarray(self.labels)
        extra = 1 if self._smooth else 0
        fine = build_texture(colour, labels, self._scale, levels + extra, keep)
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
        fine = np.asarray(coarse.resize(large, Image.Resampling.BICUBIC) if size > 1 else coarse)
        total += fine[: shape[0], : shape[1]] * np.float32(strength / 128)
    return total


def _level(texels: Texels, density: float) -> Level:
    rows, columns = texels.shape
    bordered = np.pad(texels, [(1, 1), (0, 0)], constant_values=HOLE)
    return Level(np.ascontiguousarray(bordered.T).ravel(), rows, columns, density)


def _halved(
    mean: NDArray[np.float32], cover: NDArray[np.float32], labels: Labels
) -> tuple[NDArray[np.float32], NDArray[np.float32], Labels]:
    """2x2 boxes: colour and coverage averaged, the label of the most covered quarter."""
    rows, columns = labels.shape[0] // 2, labels.shape[1] // 2
    quarters = [np.s_[i : 2 * rows : 2, j : 2 * columns : 2] for i in (0, 1) for j in (0, 1)]
    covers = np.stack([cover[q] for q in quarters])
    choice = covers.argmax(axis=0)[None]
    label = np.take_along_axis(np.stack([labels[q] for q in quarters]), choice, axis=0)[0]
    mean = np.stack([mean[q] for q in quarters]).mean(axis=0)
    return mean, covers.mean(axis=0), label
