"""Fronts of buildings: shops, terraced houses, offices, halls; and blank end walls."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from scenes.camvid import CLASSES
from scenes.dataset import Colour
from scenes.street_openings import (
    paint_door,
    paint_shopfront,
    paint_window,
    paint_window_rows,
    pick,
)
from scenes.street_texture import Easel, Texture, grain

BUILDING = CLASSES.index("Building")
DENSITY = 32  # texels per metre: what a front at the frame's edge shows at 480 pixels
VARIANTS = 9  # of each kind
KINDS = ("shop", "house", "office", "hall")

WALLS: dict[str, Colour] = {
    "red brick": (138, 84, 66),
    "brown brick": (112, 84, 68),
    "yellow brick": (164, 144, 106),
    "grey brick": (128, 120, 108),
    "white render": (206, 204, 196),
    "cream render": (204, 190, 156),
    "grey render": (150, 150, 148),
    "pink render": (196, 160, 144),
    "stone": (156, 148, 130),
    "concrete": (142, 140, 134),
}
SLATE, TILE = (74, 78, 88), (120, 72, 56)


@lru_cache(maxsize=len(KINDS) * VARIANTS)
def facade(kind: str, variant: int) -> Texture:
    """The front of a building, the same for the same arguments."""
    rng = np.random.default_rng([KINDS.index(kind), variant])
    painter = {"shop": _shop, "house": _house, "office": _office, "hall": _hall}[kind]
    return painter(rng)


@lru_cache(maxsize=8)
def blank_wall(variant: int) -> Texture:
    """A wall without openings, 12 x 16 m: the ends and backs of buildings."""
    rng = np.random.default_rng([99, variant])
    easel = Easel(12, 16, DENSITY // 2, BUILDING, smooth=False)
    _wall(easel, rng, pick(rng, tuple(WALLS)), 16)
    return _aged(easel, rng)


def _shop(rng: np.random.Generator) -> Texture:
    storeys = int(rng.integers(1, 4))
    width = float(rng.choice([5.0, 6.0, 7.5, 9.0]))
    ground, storey = 3.7, float(rng.uniform(2.7, 3.2))
    eaves = ground + storeys * storey
    easel = Easel(width, eaves + 4, DENSITY, BUILDING, smooth=False)
    material = pick(rng, tuple(WALLS)[:9])
    _wall(easel, rng, material, eaves)
    paint_shopfront(easel, rng, ground)
    paint_window_rows(easel, rng, ground + 0.5, storey, storeys, material)
    _roof(easel, rng, eaves)
    return _aged(easel, rng)


def _house(rng: np.random.Generator) -> Texture:
    storeys = int(rng.integers(2, 4))
    width, storey = float(rng.choice([4.5, 5.5, 6.0])), float(rng.uniform(2.7, 3.0))
    eaves = storeys * storey + 0.4
    easel = Easel(width, eaves + 4, DENSITY, BUILDING, smooth=False)
    material = pick(rng, tuple(WALLS)[:8])
    _wall(easel, rng, material, eaves)
    door = 0.5 if rng.random() < 0.5 else width - 1.6
    bay = width - 3.1 if door < 1 else 0.6
    paint_door(easel, rng, door, 1.0)
    paint_window(easel, rng, bay, 0.8, 2.4, 1.6, 3)
    if rng.random() < 0.4:  # a bay window with its own little roof
        easel.polygon(
            [(bay - 0.2, 2.5), (bay + 2.6, 2.5), (bay + 2.2, 3.1), (bay + 0.2, 3.1)], SLATE
        )
    paint_window_rows(easel, rng, storey + 0.8, storey, storeys - 1, material)
    _roof(easel, rng, eaves)
    return _aged(easel, rng)


def _office(rng: np.random.Generator) -> Texture:
    storeys = int(rng.integers(1, 4))
    width, storey = float(rng.choice([12.0, 15.0, 18.0])), 3.3
    eaves = 3.8 + storeys * storey
    easel = Easel(width, eaves + 1.5, DENSITY, BUILDING, smooth=False)
    _wall(easel, rng, pick(rng, ("concrete", "yellow brick", "stone", "brown brick")), eaves + 0.7)
    bay = float(rng.choice([1.5, 2.0, 3.0]))
    ribbon = rng.random() < 0.4
    for floor in range(storeys + 1):
        y = 0.5 if floor == 0 else 3.8 + (floor - 1) * storey + 0.9
        tall = 2.7 if floor == 0 else float(1.9 if ribbon else 2.0)
        for place in range(round(width / bay)):
            gap = 0.06 if ribbon else 0.3
            paint_window(easel, rng, place * bay + gap, y, bay - 2 * gap, tall, 1 if bay < 2 else 2)
        easel.rectangle(0, y - 0.25, width, 0.12, (176, 172, 164))
    door = round(width / 2 / bay) * bay
    easel.rectangle(door - 1.2, 0, 2.4, 2.9, (40, 44, 50))
    easel.rectangle(door - 1.8, 2.9, 3.6, 0.35, (190, 188, 182))
    easel.rectangle(0, eaves + 0.5, width, 0.2, (182, 178, 170))
    return _aged(easel, rng)


def _hall(rng: np.random.Generator) -> Texture:
    """Stone with tall pointed windows between buttresses: a church, a college."""
    width, eaves = float(rng.choice([12.0, 16.0])), float(rng.uniform(8.5, 11))
    easel = Easel(width, eaves + 6, DENSITY, BUILDING, smooth=False)
    _wall(easel, rng, pick(rng, ("stone", "grey brick", "red brick")), eaves)
    for place in range(int(width // 4)):
        x = place * 4 + 1.1
        dark, edge = (38, 42, 48), (176, 168, 150)
        for grow, colour in ((0.22, edge), (0.0, dark)):
            left, right, top = x - grow, x + 1.8 + grow, eaves - 2.6 + grow
            arch = [(left, 2.2 - grow), (right, 2.2 - grow), (right, top - 1.2), (x + 0.9, top)]
            easel.polygon([*arch, (left, top - 1.2)], colour)
        for bar in (0.6, 1.2):
            easel.rectangle(x + bar - 0.05, 2.2, 0.1, eaves - 6.0, edge)
        easel.rectangle(place * 4 - 0.35, 0, 0.7, eaves - 1.5, (148, 140, 122))
        easel.rectangle(place * 4 + 0.35, 0, 0.12, eaves - 1.5, (84, 80, 72))
    for tooth in range(int(width / 1.2)):
        easel.rectangle(tooth * 1.2, eaves, 0.7, 0.7, (150, 142, 124))
    if rng.random() < 0.6:
        peak = [(0.5, eaves), (width - 0.5, eaves), (width - 3, eaves + 5), (3, eaves + 5)]
        easel.polygon(peak, SLATE)
    return _aged(easel, rng)


def _wall(easel: Easel, rng: np.random.Generator, material: str, top: float) -> None:
    easel.rectangle(0, 0, easel.width, top, WALLS[material])
    rows, columns = easel.shape
    factor = grain(rng, (rows, columns), {1: 0.07, 2: 0.05, 12: 0.05, 64: 0.08})
    if "brick" in material:  # courses of 75 mm: a mortar line every third row of texels
        bricks = grain(rng, (rows // 3 + 1, columns // 7 + 1), {1: 0.16})
        factor *= np.repeat(np.repeat(bricks, 3, axis=0), 7, axis=1)[:rows, :columns]
        factor[::3] *= np.float32(1.10)
    if material == "stone":
        blocks = grain(rng, (rows // 12 + 1, columns // 22 + 1), {1: 0.14})
        factor *= np.repeat(np.repeat(blocks, 12, axis=0), 22, axis=1)[:rows, :columns]
        factor[::12] *= np.float32(0.84)
    easel.multiply(factor)


def _roof(easel: Easel, rng: np.random.Generator, eaves: float) -> None:
    width, kind = easel.width, rng.random()
    colour = SLATE if rng.random() < 0.65 else TILE
    if kind < 0.2:
        easel.rectangle(0, eaves, width, 0.6, (170, 164, 152))  # a parapet
        easel.rectangle(0, eaves + 0.5, width, 0.14, (196, 190, 178))
    elif kind < 0.4:
        gable = [(0, eaves - 0.1), (width, eaves - 0.1), (width / 2, eaves + min(3.2, width / 2))]
        easel.polygon(gable, colour)
        inner = [(0.5, eaves - 0.1), (width - 0.5, eaves - 0.1)]
        easel.polygon([*inner, (width / 2, eaves + min(2.7, width / 2 - 0.5))], (176, 168, 150))
        paint_window(easel, rng, width / 2 - 0.4, eaves + 0.3, 0.8, 1.0, 2)
    else:
        rise = float(rng.uniform(1.6, 2.8))
        easel.rectangle(0, eaves, width, rise, colour)
        for course in np.arange(eaves, eaves + rise, 0.25):
            shade = (colour[0] * 4 // 5, colour[1] * 4 // 5, colour[2] * 4 // 5)
            easel.rectangle(0, float(course), width, 0.05, shade)
        easel.rectangle(0, eaves - 0.12, width, 0.14, (206, 202, 194))  # the gutter
        if rng.random() < 0.5:
            for place in range(max(1, int(width // 3.2))):
                x = (place + 0.5) * width / max(1, int(width // 3.2)) - 0.6
                easel.rectangle(x - 0.15, eaves + 0.2, 1.5, 1.5, (120, 116, 112))
                paint_window(easel, rng, x, eaves + 0.35, 1.2, 1.1, 2)
        _chimney(easel, rng, eaves + rise - 0.4)
    if rng.random() < 0.7:
        easel.rectangle(0.06, 0, 0.09, eaves, (52, 50, 50))  # a rainwater pipe


def _chimney(easel: Easel, rng: np.random.Generator, y: float) -> None:
    wide, x = 0.9, float(rng.choice([0.1, easel.width - 1.0]))
    easel.rectangle(x, y, wide, 1.5, (122, 82, 66))
    easel.rectangle(x - 0.06, y + 1.35, wide + 0.12, 0.15, (150, 140, 126))
    for pot in (0.12, 0.55):
        easel.rectangle(x + pot, y + 1.5, 0.22, 0.42, (166, 104, 76))


def _aged(easel: Easel, rng: np.random.Generator) -> Texture:
    """Streaks, soot towards the ground and a fine grain; then the texture."""
    rows, columns = easel.shape
    streaks = grain(rng, (1, columns), {2: 0.06, 9: 0.06})
    foot = 0.84 - 0.20 * np.exp(-np.arange(rows, dtype=np.float32)[::-1, None] / (1.2 * DENSITY))
    factor = grain(rng, (rows, columns), {1: 0.07, 5: 0.05, 40: 0.08}) * streaks * foot
    easel.multiply(factor.astype(np.float32))
    return easel.build(levels=4)
