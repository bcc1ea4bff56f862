"""What fronts of buildings have in them: windows, doors, shop windows and their boards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from scenes.dataset import Colour
from scenes.street_texture import Easel

OptionT = TypeVar("OptionT")
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


def pick(rng: np.random.Generator, options: Sequence[OptionT]) -> OptionT:
    return options[int(rng.integers(len(options)))]


def paint_window_rows(
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
            paint_window(easel, rng, x, y, glass, tall, panes)
            easel.rectangle(x - 0.12, y - 0.14, glass + 0.24, 0.12, trim)
            easel.rectangle(x - 0.08, y - 0.26, glass + 0.16, 0.12, (70, 66, 62))
    if rng.random() < 0.5:
        easel.rectangle(0, first - 0.5, easel.width, 0.14, trim)


def paint_window(
    easel: Easel,
    rng: np.random.Generator,
    x: float,
    y: float,
    width: float,
    height: float,
    panes: int,
) -> None:
    frame = pick(rng, ((222, 220, 214), (222, 220, 214), (60, 58, 56)))
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


def paint_door(easel: Easel, rng: np.random.Generator, x: float, width: float) -> None:
    colour = pick(rng, DOORS)
    easel.rectangle(x - 0.15, 0, width + 0.3, 2.75, (206, 202, 192))
    easel.rectangle(x, 0.15, width, 2.0, colour)
    easel.rectangle(x, 2.2, width, 0.4, (58, 64, 72))
    easel.rectangle(x, 0, width, 0.15, (110, 106, 100))


def paint_shopfront(easel: Easel, rng: np.random.Generator, ground: float) -> None:
    """Plate glass with goods behind it, a door, and a sign board with lettering above."""
    width, frame = easel.width, pick(rng, FASCIAS)
    dim = (frame[0] * 3 // 5, frame[1] * 3 // 5, frame[2] * 3 // 5)
    easel.rectangle(0, 0, width, ground, dim)
    door = float(rng.uniform(0.4, width - 1.6))
    for left, right in ((0.3, door - 0.15), (door + 1.15, width - 0.3)):
        if right - left > 0.5:
            _display(easel, rng, left, right - left)
    easel.rectangle(door, 0.1, 1.0, 2.5, (30, 32, 36))
    easel.rectangle(door + 0.12, 0.4, 0.76, 1.95, (74, 82, 90))
    fascia = pick(rng, FASCIAS)
    easel.rectangle(0, ground - 0.95, width, 0.8, fascia)
    easel.rectangle(0, ground - 0.15, width, 0.15, (190, 186, 176))
    ink = (232, 230, 220) if sum(fascia) < 400 else (40, 36, 40)
    _lettering(easel, rng, ground - 0.8, 0.5, ink)
    if rng.random() < 0.3:
        stripe = pick(rng, FASCIAS)
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
