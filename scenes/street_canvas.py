"""The picture plane: a pinhole camera that draws walls, upright pictures and posts, far to near.

Camera coordinates are metres: x to the right, z ahead, y up from the ground. A point lands at
u = cx + f x / z, v = cy + f (eye - y) / z.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from scenes.street_light import EIGHTHS, LABEL_BYTE, SHADED, Light, Texels, tinted
from scenes.street_texture import HOLE, Level, Texture

NEAR = 0.7  # metres: nothing is drawn closer
EYE = 1.35  # metres: the lens above the ground, behind a windscreen


class Canvas:
    """One frame in the making: texels [H, W], drawn over one another."""

    def __init__(self, height: int, width: int, focal: float) -> None:
        self.texels: Texels = np.empty((height, width), np.uint32)
        self.height, self.width, self.focal = height, width, focal
        self.cx, self.cy = width / 2, height / 2
        self._u: NDArray[np.float64] = np.arange(0.5, width)
        self._v: NDArray[np.float64] = np.arange(0.5, height)

    def aim(self, cx: float, cy: float) -> None:
        """Put the vanishing point of the road's direction at (cx, cy)."""
        self.cx, self.cy = cx, cy
        self._slope = (self._u - cx) / self.focal
        self._drop = (self._v - cy).astype(np.float32)

    def wall(
        self,
        left: tuple[float, float],
        right: tuple[float, float],
        texture: Texture,
        light: Light,
        span: float,
        heights: tuple[float, float],
    ) -> None:
        """Draw an upright wall over the ground between two (x, z) points.

        `left` is the end on the left seen from the front; from behind, the wall is invisible.
        `span` metres of the texture, repeated as needed, cover its length. Only what lies between
        the `heights` is drawn, which is exact for walls square to the view.
        """
        begin, end = _clipped(left, right)
        if begin >= end:
            return
        (xa, za), (xb, zb) = _along(left, right, begin), _along(left, right, end)
        first = max(0, round(self.cx + self.focal * xa / za))
        last = min(self.width, round(self.cx + self.focal * xb / zb))
        if first >= last:
            return
        slope = self._slope[first:last]
        dx, dz = right[0] - left[0], right[1] - left[1]
        at = (slope * left[1] - left[0]) / (dx - slope * dz)
        at = np.minimum(np.maximum(at, begin), end)
        depth = left[1] + at * dz
        self._columns(first, last, at * span, depth, texture, light, heights)

    def _columns(
        self,
        first: int,
        last: int,
        along: NDArray[np.float64],
        depth: NDArray[np.float64],
        texture: Texture,
        light: Light,
        heights: tuple[float, float],
    ) -> None:
        near, far = sorted((float(depth[0]), float(depth[-1])))
        level = texture.level(texture.levels[0].density * (near * far) ** 0.5 / self.focal)
        top = self._row(heights[1], near if heights[1] > EYE else far)
        base = self._row(heights[0], near if heights[0] < EYE else far)
        if top >= base:
            return
        per_pixel = (depth * (level.density / self.focal)).astype(np.float32)
        rows = self._drop[top:base, None] * per_pixel
        rows += np.float32((texture.height - EYE) * level.density + 1)  # row 0 is the hole above
        np.maximum(rows, 0, out=rows)
        np.minimum(rows, level.rows + 1, out=rows)
        index = rows.astype(np.int32)
        index += (along * level.density).astype(np.int32) % level.columns * (level.rows + 2)
        drawn = _drawn(level, index, light)
        np.copyto(self.texels[top:base, first:last], drawn, where=drawn < HOLE)

    def picture(
        self,
        x: float,
        z: float,
        texture: Texture,
        light: Light,
        bottom: float = 0.0,
        mirrored: bool = False,
    ) -> None:
        """Draw an upright picture that faces the camera, its foot centred at (x, z)."""
        if z < NEAR:
            return
        scale = self.focal / z
        wide, high = round(texture.width * scale), round(texture.height * scale)
        left = round(self.cx + (x - texture.width / 2) * scale)
        top = round(self.cy + (EYE - bottom - texture.height) * scale)
        first, last = max(0, left), min(self.width, left + wide)
        above, below = max(0, top), min(self.height, top + high)
        if first >= last or above >= below:
            return
        level = texture.level(texture.levels[0].density / scale)
        columns = _sampled(level.columns, wide, level.rows + 2, 0)
        if mirrored:
            columns = columns[::-1]
        rows = _sampled(level.rows, high, 1, 1)  # row 0 is the hole above
        index = rows[above - top : below - top, None] + columns[first - left : last - left]
        drawn = _drawn(level, index, light)
        np.copyto(self.texels[above:below, first:last], drawn, where=drawn < HOLE)

    def post(self, x: float, z: float, width: float, bottom: float, top: float, paint: int) -> None:
        """Draw an upright round post, at least one pixel wide."""
        if z < NEAR:
            return
        scale = self.focal / z
        pixels = max(1, round(width * scale))
        left = round(self.cx + x * scale - pixels / 2)
        first, last = max(0, left), min(self.width, left + pixels)
        above, below = self._row(top, z), self._row(bottom, z)
        if first < last and above < below:
            shades = _rounded(paint, pixels)[first - left : last - left]
            self.texels[above:below, first:last] = shades

    def darken(self, x: float, near: float, far: float, width: float) -> None:
        """Halve the light on a strip of ground, `width` metres wide around x, from near to far."""
        top, base = self._row(0, far), self._row(0, near)
        scale = self._drop[top:base] / EYE  # pixels per metre on each row
        left = np.maximum(self.cx + (x - width / 2) * scale, 0)
        right = np.minimum(self.cx + (x + width / 2) * scale, self.width)
        if top >= base or left.min() >= right.max():
            return
        first, last = int(left.min()), int(np.ceil(right.max()))
        u = self._u[first:last]
        part = self.texels[top:base, first:last]
        mask = (u >= left[:, None]) & (u < right[:, None])
        np.copyto(part, tinted(part, SHADED), where=mask)

    def _row(self, y: float, z: float) -> int:
        row = self.cy + self.focal * (EYE - y) / z
        return min(max(0, round(row)), self.height)


def _drawn(level: Level, index: NDArray[np.int32], light: Light) -> Texels:
    """Texels of a level under a light. Hazy ones come ready-made: far levels are small."""
    if light.haze:
        return level.hazed(light).take(index)
    return tinted(level.texels.take(index), light)


@lru_cache(maxsize=256)
def _rounded(paint: int, pixels: int) -> Texels:
    """One row of a round post, lit from the left."""
    shades = np.full(pixels, paint, np.uint32)
    if pixels > 2:
        light = np.array([8 - max(0, at * 6 // pixels - 1) for at in range(pixels)], np.uint32)
        shades = (shades >> np.uint32(3) & EIGHTHS) * light | (shades & LABEL_BYTE)
    return shades


@lru_cache(maxsize=4096)  # a kilobyte or two each
def _sampled(texels: int, pixels: int, stride: int, offset: int) -> NDArray[np.int32]:
    """Where the texel under each pixel's centre lies, `texels` being spread over `pixels`."""
    centres = 2 * np.arange(pixels, dtype=np.int64) + 1
    return (centres * texels // (2 * pixels) * stride + offset).astype(np.int32)


def _clipped(left: tuple[float, float], right: tuple[float, float]) -> tuple[float, float]:
    """The part [begin, end] of the segment, 0..1, that lies beyond the near plane."""
    za, zb = left[1], right[1]
    if za < NEAR and zb < NEAR:
        return 0.0, 0.0
    if za < NEAR:
        return (NEAR - za) / (zb - za), 1.0
    if zb < NEAR:
        return 0.0, (NEAR - za) / (zb - za)
    return 0.0, 1.0


def _along(left: tuple[float, float], right: tuple[float, float], at: float) -> tuple[float, float]:
    return left[0] + at * (right[0] - left[0]), left[1] + at * (right[1] - left[1])
