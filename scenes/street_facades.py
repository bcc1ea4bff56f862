"""Fronts of buildings: shops, terraced houses, offices, halls; and blank end walls."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TypeVar

import numpy as np

from scenes.camvid import CLASSES
from scenes.dataset import Colour
from scenes.street_texture import Easel, Texture, grain

OptionT = TypeVar("OptionT")
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
SLATE, TILE, LEAD = (74, 78, 88), (120, 72, 56), (88, 90, 92)
FASCIAS: tuple[Colour, ...] = (
    (24, 52, 108),
    (140, 28, 34),
    (22, 84, 58),
    (30, 30, 34),
    (214, 170, 40),
    (226, 224, 214),
    (86, 40, 96),
    (198, 92, 36),
)
DOORS: tuple[Colour, ...] = (
    (36, 54, 84),
    (96, 26, 28),
    (28, 62, 46),
    (32, 32, 34),
    (196, 192, 184),
)


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
    _wall(easel, rng, _pick(rng, tuple(WALLS)), 16)
    return _aged(easel, rng)


def _shop(rng: np.random.Generator) -> Texture:
    storeys = int(rng.integers(1, 4))
    width = float(rng.choice([5.0, 6.0, 7.5, 9.0]))
    ground, storey = 3.7, float(rng.uniform(2.7, 3.2))
    eaves = ground + storeys * storey
    easel = Easel(width, eaves + 4, DENSITY, BUILDING, smooth=False)
    material = _pick(rng, tuple(WALLS)[:9])
    _wall(easel, rng, material, eaves)
    _shopfront(easel, rng, ground)
    _storeys(easel, rng, ground + 0.5, storey, storeys, material)
    _roof(easel, rng, eaves)
    return _aged(easel, rng)


def _house(rng: np.random.Generator) -> Texture:
    storeys = int(rng.integers(2, 4))
    width, storey = float(rng.choice([4.5, 5.5, 6.0])), float(rng.uniform(2.7, 3.0))
    eaves = storeys * storey + 0.4
    easel = Easel(width, eaves + 4, DENSITY, BUILDING, smooth=False)
    material = _pick(rng, tuple(WALLS)[:8])
    _wall(easel, rng, material, eaves)
    door = 0.5 if rng.random() < 0.5 else width - 1.6
    bay = width - 3.1 if door < 1 else 0.6
    _door(easel, rng, door, 1.0)
    _window(easel, rng, bay, 0.8, 2.4, 1.6, 3)
    if rng.random() < 0.4:  # a bay window with its own little roof
        easel.polygon(
            [(bay - 0.2, 2.5), (bay + 2.6, 2.5), (bay + 2.2, 3.1), (bay + 0.2, 3.1)], SLATE
        )
    _storeys(easel, rng, storey + 0.8, storey, storeys - 1, material)
    _roof(easel, rng, eaves)
    return _aged(easel, rng)


def _office(rng: np.random.Generator) -> Texture:
    storeys = int(rng.integers(1, 4))
    width, storey = float(rng.choice([12.0, 15.0, 18.0])), 3.3
    eaves = 3.8 + storeys * storey
    easel = Easel(width, eaves + 1.5, DENSITY, BUILDING, smooth=False)
    _wall(easel, rng, _pick(rng, ("concrete", "yellow brick", "stone", "brown brick")), eaves + 0.7)
    bay = float(rng.choice([1.5, 2.0, 3.0]))
    ribbon = rng.random() < 0.4
    for floor in range(storeys + 1):
        y = 0.5 if floor == 0 else 3.8 + (floor - 1) * storey + 0.9
        tall = 2.7 if floor == 0 else float(1.9 if ribbon else 2.0)
        for place in range(round(width / bay)):
            gap = 0.06 if ribbon else 0.3
            _window(easel, rng, place * bay + gap, y, bay - 2 * gap, tall, 1 if bay < 2 else 2)
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
    _wall(easel, rng, _pick(rng, ("stone", "grey brick", "red brick")), eaves)
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


def _storeys(
    easel: Easel,
    rng: np.random.Generator,
    first: float,
    storey: float,
    count: int,
    material: str,
) -> None:
    """Rows of sash windows with sills and lintels."""
    windows = max(1, round(easel.width / float(rng.uniform(2.2, 2.9))))
    bay, glass = easel.width / windows, float(rng.uniform(0.9, 1.25))
    panes = int(rng.integers(1, 4))
    trim = (204, 200, 188) if "brick" in material else (172, 168, 160)
    for floor in range(count):
        y, tall = first + floor * storey, float(min(storey - 1.1, 1.8 - 0.15 * floor))
        for place in range(windows):
            x = (place + 0.5) * bay - glass / 2
            easel.rectangle(x - 0.12, y + tall, glass + 0.24, 0.22, trim)
            _window(easel, rng, x, y, glass, tall, panes)
            easel.rectangle(x - 0.12, y - 0.14, glass + 0.24, 0.12, trim)
            easel.rectangle(x - 0.08, y - 0.26, glass + 0.16, 0.12, (70, 66, 62))
    if rng.random() < 0.5:
        easel.rectangle(0, first - 0.5, easel.width, 0.14, trim)


def _window(
    easel: Easel,
    rng: np.random.Generator,
    x: float,
    y: float,
    width: float,
    height: float,
    panes: int,
) -> None:
    frame = _pick(rng, ((222, 220, 214), (222, 220, 214), (60, 58, 56)))
    dark = int(rng.integers(26, 62))
    glass = (dark, dark + 5, dark + 11)
    easel.rectangle(x - 0.06, y - 0.06, width + 0.12, height + 0.12, frame)
    easel.rectangle(x, y, width, height, glass)
    sky = float(rng.uniform(0.2, 0.7))  # the upper part mirrors the sky
    bright = int(rng.integers(30, 90))
    mirror = (glass[0] + bright, glass[1] + bright + 4, glass[2] + bright + 10)
    slant = float(rng.uniform(-0.25, 0.25)) * height
    low = y + height * (1 - sky)
    right_low, left_low = max(y, low - slant), max(y, low + slant)
    corners = [(x, left_low), (x + width, right_low), (x + width, y + height), (x, y + height)]
    easel.polygon(corners, mirror)
    if rng.random() < 0.3:
        easel.rectangle(x, y, width * 0.22, height, (176, 168, 152))
        easel.rectangle(x + width * 0.78, y, width * 0.22, height, (168, 160, 146))
    easel.rectangle(x, y + height - 0.1, width, 0.1, (22, 22, 24))  # the reveal's shadow
    for bar in range(1, panes):
        easel.rectangle(x + width * bar / panes - 0.03, y, 0.06, height, frame)
    easel.rectangle(x, y + height * 0.52, width, 0.06, frame)


def _door(easel: Easel, rng: np.random.Generator, x: float, width: float) -> None:
    colour = _pick(rng, DOORS)
    easel.rectangle(x - 0.15, 0, width + 0.3, 2.75, (206, 202, 192))
    easel.rectangle(x, 0.15, width, 2.0, colour)
    easel.rectangle(x, 2.2, width, 0.4, (58, 64, 72))
    easel.rectangle(x, 0, width, 0.15, (110, 106, 100))


def _shopfront(easel: Easel, rng: np.random.Generator, ground: float) -> None:
    """Plate glass with goods behind it, a door, and a sign board with lettering above."""
    width, frame = easel.width, _pick(rng, FASCIAS)
    dim = (frame[0] * 3 // 5, frame[1] * 3 // 5, frame[2] * 3 // 5)
    easel.rectangle(0, 0, width, ground, dim)
    door = float(rng.uniform(0.4, width - 1.6))
    for left, right in ((0.3, door - 0.15), (door + 1.15, width - 0.3)):
        if right - left > 0.5:
            _display(easel, rng, left, right - left)
    easel.rectangle(door, 0.1, 1.0, 2.5, (30, 32, 36))
    easel.rectangle(door + 0.12, 0.4, 0.76, 1.95, (74, 82, 90))
    fascia = _pick(rng, FASCIAS)
    easel.rectangle(0, ground - 0.95, width, 0.8, fascia)
    easel.rectangle(0, ground - 0.15, width, 0.15, (190, 186, 176))
    ink = (232, 230, 220) if sum(fascia) < 400 else (40, 36, 40)
    _lettering(easel, rng, ground - 0.8, 0.5, ink)
    if rng.random() < 0.3:
        stripe = _pick(rng, FASCIAS)
        drop = [(0.1, 2.3), (width - 0.1, 2.3), (width - 0.1, 2.85), (0.1, 2.85)]
        easel.polygon(drop, stripe)
        for band in range(int(width / 0.8)):
            easel.rectangle(0.1 + band * 0.8, 2.3, 0.4, 0.55, (220, 216, 206))


def _display(easel: Easel, rng: np.random.Generator, x: float, width: float) -> None:
    lit = int(rng.integers(40, 120))
    easel.rectangle(x, 0.5, width, 2.1, (lit, lit - 4, lit - 12))
    for _ in range(int(width * 7)):
        tone = int(rng.integers(30, 190))
        colour = [tone + int(c) for c in rng.integers(-28, 29, 3)]
        w, h = rng.uniform(0.1, 0.4), rng.uniform(0.1, 0.6)
        px, py = x + rng.uniform(0, max(0.01, width - w)), 0.5 + rng.uniform(0, 1.4)
        easel.rectangle(px, py, w, h, (colour[0], colour[1], colour[2]))
    shine = [(x + width * 0.1, 2.6), (x + width * 0.3, 2.6), (x + width * 0.2, 1.4)]
    easel.polygon(shine, (150, 158, 166))
    for post in np.arange(x, x + width + 0.01, max(1.2, width / 3)):
        easel.rectangle(float(post) - 0.04, 0.5, 0.08, 2.1, (46, 44, 44))


def _lettering(
    easel: Easel, rng: np.random.Generator, y: float, height: float, ink: Colour
) -> None:
    count = int(rng.integers(4, 10))
    step = min(0.42, (easel.width - 1) / count)
    left = (easel.width - count * step) / 2
    for place in range(count):
        x, wide = left + place * step, step * 0.62
        if rng.random() < 0.12:
            continue
        easel.rectangle(x, y, 0.09, height, ink)
        for bar in rng.choice([0.0, 0.45, 0.85], int(rng.integers(1, 4)), replace=False):
            easel.rectangle(x, y + height * float(bar), wide, 0.08, ink)
        if rng.random() < 0.5:
            easel.rectangle(x + wide - 0.08, y, 0.09, height, ink)


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
        _window(easel, rng, width / 2 - 0.4, eaves + 0.3, 0.8, 1.0, 2)
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
                _window(easel, rng, x, eaves + 0.35, 1.2, 1.1, 2)
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


def _pick(rng: np.random.Generator, options: Sequence[OptionT]) -> OptionT:
    return options[int(rng.integers(len(options)))]
