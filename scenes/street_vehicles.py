"""Vehicles as upright pictures, drawn once for each turn of `STEP` degrees and kept."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from scenes.camvid import CLASSES
from scenes.dataset import Colour
from scenes.street_bodies import BODIES, PAINTS, faces_of
from scenes.street_canvas import EYE
from scenes.street_texture import Easel, Texture

CAR = CLASSES.index("Car")
STEP = 6  # degrees between two drawn views
DISTANCE = 2.4  # lengths of a vehicle from which its views are drawn
DENSITY = 84  # texels per metre
Floats = NDArray[np.float64]


@lru_cache(maxsize=640)  # about 0.1 MB each
def vehicle(kind: str, paint: int, turn: int) -> tuple[Texture, float]:
    """A vehicle turned by `turn` steps of `STEP` degrees, and where its picture's foot lies.

    Turn 0 is seen from behind, 180 degrees from the front, 90 driving to the right. The foot is in
    metres relative to the ground.
    """
    solid = _solid(kind, paint)
    distance = DISTANCE * BODIES[kind].length
    x, y = _seen(solid.points, math.radians(turn * STEP), distance)
    turned = np.add.reduceat(x * y[solid.following] - x[solid.following] * y, solid.starts)
    corners = np.stack([x, y], axis=1).tolist()
    ends = [*solid.starts[1:], len(corners)]
    faces = zip(solid.starts, ends, solid.colours, turned.tolist(), strict=True)
    shown = [(corners[start:end], colour) for start, end, colour, area in faces if area < 0]
    return _pictured(shown)  # an outline that turns clockwise faces the camera


@dataclass(frozen=True)
class _Solid:
    """A painted body: the corners [N, 3] of its faces around its middle, face after face."""

    points: Floats
    following: NDArray[np.intp]  # the next corner of each corner's outline
    starts: list[int]  # each face's first corner
    colours: list[Colour]


@lru_cache(maxsize=32)
def _solid(kind: str, paint: int) -> _Solid:
    body = BODIES[kind]
    faces = faces_of(body, PAINTS[paint % len(PAINTS)])
    points = np.array([point for corners, _ in faces for point in corners])
    points[:, 2] -= body.length / 2
    sizes = [len(corners) for corners, _ in faces]
    starts = np.cumsum([0, *sizes[:-1]])
    following = np.arange(len(points)) + 1
    following[starts + sizes - 1] = starts
    return _Solid(points, following, starts.tolist(), [colour for _, colour in faces])


def _seen(points: Floats, angle: float, distance: float) -> tuple[Floats, Floats]:
    """Where corners of a turned vehicle appear on the upright plane through its middle, metres."""
    x, y, z = points.T
    scale = distance / (distance - x * math.sin(angle) + z * math.cos(angle))
    return (x * math.cos(angle) + z * math.sin(angle)) * scale, EYE + (y - EYE) * scale


def _pictured(
    shown: list[tuple[list[tuple[float, float]], Colour]],
) -> tuple[Texture, float]:
    """The outlines in painting order as a texture centred on x = 0, and the height of its foot."""
    xs = [x for outline, _ in shown for x, _ in outline]
    ys = [y for outline, _ in shown for _, y in outline]
    half, foot = max(max(xs), -min(xs)) + 0.03, min(ys) - 0.02
    easel = Easel(2 * half, max(ys) + 0.03 - foot, DENSITY, CAR, smooth=False)
    for outline, colour in shown:
        easel.polygon([(x + half, y - foot) for x, y in outline], colour)
    up = np.linspace(1, 0, easel.shape[0], dtype=np.float32)[:, None]
    easel.multiply(np.float32(0.62) + np.float32(0.5) * np.sqrt(up))  # roads mirror less than skies
    return easel.build(levels=6), foot
