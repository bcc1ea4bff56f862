"""What stands on pavements, signs and lamps, and what runs along them, fences and walls."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from scenes.camvid import CLASSES
from scenes.dataset import Colour
from scenes.street_texture import Easel, Texture, grain

SIGN, FENCE, BUILDING, POLE = (
    CLASSES.index(name) for name in ("SignSymbol", "Fence", "Building", "Pole")
)
DENSITY = 64
ROADSIDE = ("speed", "warning", "no entry", "direction", "parking", "give way")  # signs on posts
SIGNS = (*ROADSIDE, "shop", "lights")
FENCES = ("railing", "boards", "mesh", "pickets")
RED, BLUE, WHITE = (176, 24, 30), (26, 66, 150), (228, 228, 222)


@lru_cache(maxsize=len(SIGNS) * 3)
def sign(kind: str, variant: int) -> Texture:
    """A sign's plate, to be hung on a post."""
    rng = np.random.default_rng([SIGNS.index(kind), variant, 31])
    painters = {
        "speed": _speed, "warning": _warning, "no entry": _no_entry, "direction": _direction,
        "parking": _parking, "give way": _give_way, "shop": _shop_sign, "lights": _lights,
    }  # fmt: skip
    easel = painters[kind](rng)
    easel.multiply(grain(rng, easel.shape, {4: 0.06, 30: 0.08}))
    return easel.build(levels=5)


@lru_cache(maxsize=2)
def lantern(side: int) -> Texture:
    """A street lamp's arm and lantern, reaching to the right of a post on the left (-1)."""
    easel = Easel(2.0, 0.6, DENSITY, POLE)
    grey, dark = (116, 120, 122), (60, 62, 66)
    arm = [(0.0, 0.1), (0.5, 0.32), (1.3, 0.4)]
    head = [(1.2, 0.36), (1.95, 0.34), (1.9, 0.5), (1.25, 0.5)]
    flip = (lambda p: p) if side < 0 else (lambda p: (2.0 - p[0], p[1]))
    easel.line([flip(p) for p in arm], 0.09, grey)
    easel.polygon([flip(p) for p in head], dark)
    return easel.build(levels=5, keep=0.3)


@lru_cache(maxsize=len(FENCES) * 3)
def fence(kind: str, variant: int) -> Texture:
    """Six metres of fence, to be repeated along a wall; what shows between its bars is painted."""
    rng = np.random.default_rng([FENCES.index(kind), variant, 32])
    height = {"railing": 1.15, "boards": 1.7, "mesh": 1.5, "pickets": 1.0}[kind]
    easel = Easel(6, height, 32, FENCE)
    if kind == "boards":
        _boards(easel, rng, height)
    else:
        _bars(easel, rng, kind, height)
    rows, columns = easel.shape
    easel.multiply(grain(rng, (rows, columns), {1: 0.1, 6: 0.08, 60: 0.1}))
    return easel.build(levels=4)


@lru_cache(maxsize=3)
def garden_wall(variant: int) -> Texture:
    """Eight metres of low brick wall with a coping."""
    rng = np.random.default_rng([variant, 33])
    easel = Easel(8, 0.9, 32, BUILDING, smooth=False)
    colour = ((136, 84, 66), (150, 134, 104), (120, 112, 100))[variant]
    easel.rectangle(0, 0, 8, 0.9, colour)
    rows, columns = easel.shape
    bricks = grain(rng, (rows // 3 + 1, columns // 7 + 1), {1: 0.18})
    easel.multiply(np.repeat(np.repeat(bricks, 3, axis=0), 7, axis=1)[:rows, :columns])
    easel.rectangle(0, 0.8, 8, 0.1, (164, 158, 146))
    easel.multiply(grain(rng, (rows, columns), {1: 0.08, 40: 0.12}))
    return easel.build(levels=4)


def _boards(easel: Easel, rng: np.random.Generator, height: float) -> None:
    base = ((116, 84, 58), (96, 78, 62), (128, 108, 84))[int(rng.integers(3))]
    for place in range(60):
        tone = float(rng.uniform(0.8, 1.15))
        colour = (int(base[0] * tone), int(base[1] * tone), int(base[2] * tone))
        easel.rectangle(place * 0.1, 0, 0.1, height, colour)
        easel.rectangle(place * 0.1, 0, 0.02, height, (52, 42, 34))
    for post in (0.0, 2.0, 4.0):
        easel.rectangle(post, 0, 0.12, height, (140, 132, 120))


def _bars(easel: Easel, rng: np.random.Generator, kind: str, height: float) -> None:
    behind: Colour = ((66, 74, 48), (92, 90, 82), (58, 62, 56))[int(rng.integers(3))]
    easel.rectangle(0, 0, 6, height, behind)
    rows, columns = easel.shape
    easel.multiply(grain(rng, (rows, columns), {3: 0.2, 14: 0.25}))
    bar: Colour = {"railing": (34, 36, 36), "mesh": (128, 134, 134), "pickets": (208, 206, 196)}[
        kind
    ]
    step, wide = {"railing": (0.13, 0.03), "mesh": (0.07, 0.015), "pickets": (0.16, 0.09)}[kind]
    for x in np.arange(0, 6, step):
        easel.rectangle(float(x), 0, wide, height, bar)
    if kind == "mesh":
        for y in np.arange(0, height, 0.1):
            easel.rectangle(0, float(y), 6, 0.015, bar)
    for y in (0.1, height - 0.1):
        easel.rectangle(0, y, 6, 0.05, bar)
    for post in (0.0, 2.0, 4.0):
        easel.rectangle(post, 0, 0.08, height, bar)


def _plate(width: float, height: float) -> Easel:
    return Easel(width, height, DENSITY, SIGN)


def _disc(easel: Easel, r: float, colour: Colour) -> None:
    easel.ellipse(easel.width / 2, easel.height / 2, r, r, colour)


def _speed(rng: np.random.Generator) -> Easel:
    easel = _plate(0.75, 0.75)
    _disc(easel, 0.36, RED)
    _disc(easel, 0.28, WHITE)
    for left in (0.24, 0.42):
        easel.rectangle(left, 0.26, 0.11, 0.24, (24, 24, 26))
        easel.rectangle(left + 0.03, 0.31, 0.05, 0.14, WHITE)
    return easel


def _no_entry(rng: np.random.Generator) -> Easel:
    easel = _plate(0.75, 0.75)
    _disc(easel, 0.36, WHITE)
    _disc(easel, 0.34, RED)
    easel.rectangle(0.15, 0.31, 0.45, 0.13, WHITE)
    return easel


def _warning(rng: np.random.Generator) -> Easel:
    easel = _plate(0.85, 0.78)
    easel.polygon([(0.02, 0.02), (0.83, 0.02), (0.425, 0.76)], RED)
    easel.polygon([(0.17, 0.1), (0.68, 0.1), (0.425, 0.57)], WHITE)
    easel.rectangle(0.39, 0.15, 0.07, 0.26, (24, 24, 26))
    return easel


def _give_way(rng: np.random.Generator) -> Easel:
    easel = _plate(0.85, 0.78)
    easel.polygon([(0.02, 0.76), (0.83, 0.76), (0.425, 0.02)], RED)
    easel.polygon([(0.17, 0.68), (0.68, 0.68), (0.425, 0.21)], WHITE)
    return easel


def _direction(rng: np.random.Generator) -> Easel:
    easel = _plate(2.2, 1.4)
    colour: Colour = ((20, 84, 58), BLUE, WHITE)[int(rng.integers(3))]
    ink: Colour = (30, 30, 32) if colour == WHITE else WHITE
    easel.rectangle(0, 0, 2.2, 1.4, WHITE)
    easel.rectangle(0.04, 0.04, 2.12, 1.32, colour)
    for y in (0.2, 0.6, 1.0):
        for place in range(int(rng.integers(4, 9))):
            easel.rectangle(0.2 + place * 0.17, y, 0.11, 0.2, ink)
        easel.polygon([(1.8, y), (2.05, y + 0.1), (1.8, y + 0.2)], ink)
    return easel


def _parking(rng: np.random.Generator) -> Easel:
    easel = _plate(0.5, 0.7)
    easel.rectangle(0, 0, 0.5, 0.7, BLUE)
    easel.rectangle(0.14, 0.15, 0.08, 0.42, WHITE)
    easel.rectangle(0.14, 0.33, 0.22, 0.24, WHITE)
    easel.rectangle(0.2, 0.39, 0.1, 0.12, BLUE)
    return easel


def _shop_sign(rng: np.random.Generator) -> Easel:
    wide, high = float(rng.uniform(0.6, 1.0)), float(rng.uniform(0.7, 1.3))
    easel = _plate(wide, high)
    colour = tuple(int(c) for c in rng.integers(20, 220, 3))
    easel.rectangle(0, 0, wide, high, (40, 38, 38))
    inner: Colour = (colour[0], colour[1], colour[2])
    easel.rectangle(0.05, 0.05, wide - 0.1, high - 0.1, inner)
    for y in np.arange(0.15, high - 0.2, 0.24):
        easel.rectangle(0.14, float(y), wide - 0.28, 0.1, WHITE)
    return easel


def _lights(rng: np.random.Generator) -> Easel:
    """A traffic light with its backing board; one lamp burns."""
    easel = _plate(0.5, 1.2)
    easel.rectangle(0, 0, 0.5, 1.2, (210, 210, 204))
    easel.rectangle(0.03, 0.03, 0.44, 1.14, (22, 22, 24))
    lit = int(rng.choice([0, 2]))
    colours: tuple[Colour, ...] = ((60, 240, 140), (255, 180, 40), (255, 60, 50))
    for lamp in range(3):
        colour = colours[lamp] if lamp == lit else (46, 44, 44)
        easel.ellipse(0.25, 0.25 + 0.35 * lamp, 0.12, 0.12, colour)
    return easel
