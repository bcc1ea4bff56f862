"""The sky and what closes the street: a band of far roofs and tree tops along the horizon."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scenes.camvid import CLASSES
from scenes.dataset import Colour
from scenes.street_canvas import Canvas
from scenes.street_light import HAZE_COLOUR, Texels
from scenes.street_texture import grain, pack, rgb

SKY, BUILDING, TREE = (CLASSES.index(name) for name in ("Sky", "Building", "Tree"))
ROOFS: tuple[Colour, ...] = ((128, 112, 100), (140, 136, 128), (112, 104, 104))
TURN = 0.5  # radians the camera may turn to either side


@dataclass(frozen=True)
class Weather:
    """Colours of the sky at the zenith and at the horizon, and its clouds."""

    zenith: Colour
    horizon: Colour
    cloud: Colour
    cover: float  # 0 = none .. 1 = closed
    contrast: float


WEATHERS = {
    "clear": Weather((142, 178, 226), (226, 236, 242), (250, 250, 250), 0.25, 0.5),
    "bright": Weather((232, 240, 244), (250, 251, 250), (255, 255, 255), 0.6, 0.3),
    "broken": Weather((150, 176, 206), (222, 230, 232), (236, 238, 238), 0.6, 1.0),
    "grey": Weather((176, 184, 190), (214, 218, 218), (226, 228, 228), 0.75, 0.8),
}


class Sky:
    """A panorama of the sky above the horizon, wider than the frame by `TURN` on both sides."""

    def __init__(self, canvas: Canvas, rows: int, weather: str, seed: int) -> None:
        self._margin = round(TURN * canvas.focal)
        rng = np.random.default_rng([seed, sorted(WEATHERS).index(weather)])
        shape = (rows, canvas.width + 2 * self._margin)
        colour = _clouded(rng, shape, WEATHERS[weather])
        labels = np.full(shape, SKY, np.uint8)
        _far_band(rng, colour, labels, canvas.focal)
        self._texels: Texels = pack(np.clip(colour + 0.5, 0, 255).astype(np.uint8), labels)

    def draw(self, canvas: Canvas, heading: float) -> None:
        """Fill everything above the horizon; `heading` in radians, right is positive."""
        rows = int(canvas.cy)
        turn = round(heading * canvas.focal + canvas.width / 2 - canvas.cx)
        left = min(max(0, self._margin + turn), 2 * self._margin)
        canvas.texels[:rows] = self._texels[-rows:, left : left + canvas.width]


def _clouded(
    rng: np.random.Generator, shape: tuple[int, int], weather: Weather
) -> NDArray[np.float32]:
    rows, columns = shape
    height = np.linspace(1, 0, rows, dtype=np.float32)[:, None, None]
    blend = height**1.3
    colour = rgb(weather.zenith) * blend + rgb(weather.horizon) * (1 - blend)
    colour = np.broadcast_to(colour, (rows, columns, 3)).copy()
    # Clouds lie on a plane overhead: towards the horizon they flatten.
    plane = grain(rng, (512, columns), {160: 0.9, 64: 0.55, 28: 0.35, 12: 0.2, 5: 0.1})
    look = (511 * (1 - np.linspace(1, 0.02, rows) ** 0.5)).astype(np.intp)
    density = (plane[look] - 1) + (weather.cover - 0.5) * 1.6
    cover = np.clip(density * 1.6, 0, 1)[..., None] ** 1.5
    shadow = 1 - weather.contrast * 0.22 * np.clip(density - 0.35, 0, 1)[..., None]
    clouded: NDArray[np.float32] = colour * (1 - cover) + rgb(weather.cloud) * shadow * cover
    return clouded.astype(np.float32)


def _far_band(
    rng: np.random.Generator,
    colour: NDArray[np.float32],
    labels: NDArray[np.uint8],
    focal: float,
) -> None:
    """Roofs and trees 150 m away, faded by haze, standing on the horizon (the last row)."""
    rows, columns = labels.shape
    metre = focal / 150
    up = np.arange(rows, 0, -1)[:, None] / metre  # metres above the eye
    haze = rgb(HAZE_COLOUR)
    texture = grain(rng, (rows, columns), {2: 0.06, 8: 0.08})[..., None]
    left = 0
    while left < columns:
        width = int(rng.integers(round(5 * metre), round(22 * metre)))
        part = np.s_[:, left : left + width]
        across = np.linspace(-1, 1, labels[part].shape[1])
        leafy = rng.random() < 0.5
        if leafy:
            wobble = grain(rng, (1, across.size), {3: 0.1, 7: 0.2})[0]
            top = rng.uniform(5, 11) * (0.55 + 0.45 * np.sqrt(1 - across**2)) * wobble
            tint = rgb((80, 88, 70))
        else:
            eaves = rng.uniform(5, 10)
            top = eaves + rng.choice([0.0, 2.5]) * (1 - np.abs(across))
            tint = rgb(ROOFS[int(rng.integers(len(ROOFS)))])
        solid = up < top
        fill = (tint * 0.68 + haze * 0.32) * texture[part]
        colour[part] = np.where(solid[..., None], fill, colour[part])
        labels[part] = np.where(solid, TREE if leafy else BUILDING, labels[part])
        left += width
