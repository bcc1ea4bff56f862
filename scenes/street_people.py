"""Pedestrians and cyclists: upright pictures in the poses of a stride."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from scenes.camvid import CLASSES
from scenes.dataset import Colour
from scenes.street_texture import Easel, Texture, grain

PEDESTRIAN, BICYCLIST = CLASSES.index("Pedestrian"), CLASSES.index("Bicyclist")
POSES = 6  # of a stride
LOOKS = 10
DENSITY = 56

COATS: tuple[Colour, ...] = (
    (30, 32, 38),
    (46, 50, 62),
    (84, 36, 34),
    (38, 62, 96),
    (98, 88, 74),
    (150, 146, 140),
    (58, 70, 52),
    (22, 22, 26),
    (150, 96, 44),
    (120, 124, 130),
)
TROUSERS: tuple[Colour, ...] = ((34, 38, 52), (24, 24, 28), (58, 54, 50), (52, 66, 96))
SKINS: tuple[Colour, ...] = ((206, 164, 140), (176, 128, 100), (112, 78, 60), (222, 182, 158))
HAIRS: tuple[Colour, ...] = ((40, 30, 24), (84, 62, 40), (26, 24, 24), (150, 130, 100))
HELMETS: tuple[Colour, ...] = ((220, 220, 214), (40, 44, 52), (188, 40, 40))


@lru_cache(maxsize=LOOKS * POSES)
def pedestrian(look: int, pose: int) -> Texture:
    """A walker seen from behind or in front; the legs and arms swing with the pose."""
    rng = np.random.default_rng([look, 21])
    tall = float(rng.uniform(1.58, 1.86))
    easel = Easel(1.0, 1.95, DENSITY, PEDESTRIAN)
    coat, legs = COATS[look % len(COATS)], TROUSERS[int(rng.integers(len(TROUSERS)))]
    swing = math.sin(math.tau * pose / POSES)
    _legs(easel, 0.5, tall * 0.5, swing, legs)
    _trunk(easel, rng, 0.5, tall, coat, swing)
    if rng.random() < 0.4:
        bag = COATS[int(rng.integers(len(COATS)))]
        easel.rectangle(0.66, tall * 0.36, 0.14, 0.3, bag)
    _head(easel, rng, 0.5, tall)
    return _shaded(easel, rng)


@lru_cache(maxsize=LOOKS * POSES)
def cyclist(look: int, pose: int) -> Texture:
    """A rider seen from behind: wheel, saddle, pumping legs, bent back and helmet."""
    rng = np.random.default_rng([look, 22])
    easel = Easel(1.0, 1.95, DENSITY, BICYCLIST)
    coat = (196, 214, 44) if look % 4 == 0 else COATS[look % len(COATS)]
    legs = TROUSERS[int(rng.integers(len(TROUSERS)))]
    pump = math.sin(math.tau * pose / POSES)
    easel.ellipse(0.5, 0.34, 0.05, 0.34, (24, 24, 26))
    easel.rectangle(0.46, 0.5, 0.08, 0.42, (60, 30, 32))
    for side in (-1, 1):
        foot = 0.24 + 0.14 * side * pump
        hip, knee = (0.5 + side * 0.1, 1.0), (0.5 + side * 0.17, 0.5 + foot * 0.6)
        easel.line([hip, knee], 0.15, legs)
        easel.line([knee, (0.5 + side * 0.14, foot)], 0.1, legs)
        easel.rectangle(0.44 + side * 0.14, foot - 0.08, 0.12, 0.09, (20, 20, 22))
        easel.line([(0.5 + side * 0.2, 1.42), (0.5 + side * 0.27, 1.1)], 0.1, coat)
    easel.rectangle(0.24, 1.03, 0.52, 0.05, (40, 40, 42))
    easel.rectangle(0.47, 0.66, 0.06, 0.05, (190, 30, 26))
    back = [(0.33, 0.92), (0.67, 0.92), (0.73, 1.36), (0.6, 1.5), (0.4, 1.5), (0.27, 1.36)]
    easel.polygon(back, coat)
    easel.ellipse(0.5, 1.62, 0.1, 0.13, SKINS[int(rng.integers(len(SKINS)))])
    top = [*HELMETS, *HAIRS][int(rng.integers(len(HELMETS) + len(HAIRS)))]
    easel.ellipse(0.5, 1.68, 0.12, 0.11, top)
    return _shaded(easel, rng)


def _legs(easel: Easel, x: float, hip: float, swing: float, colour: Colour) -> None:
    for side in (-1, 1):
        lift = max(0.0, side * swing) * 0.1
        foot = (x + side * 0.09 + side * swing * 0.02, 0.06 + lift)
        knee = (x + side * 0.1, hip * 0.5 + lift * 0.5)
        shade = 1.0 if side * swing > 0 else 0.8
        tone = (int(colour[0] * shade), int(colour[1] * shade), int(colour[2] * shade))
        easel.line([(x + side * 0.08, hip), knee], 0.17, tone)
        easel.line([knee, foot], 0.13, tone)
        easel.rectangle(foot[0] - 0.07, foot[1] - 0.06, 0.14, 0.1, (24, 22, 22))


def _trunk(
    easel: Easel,
    rng: np.random.Generator,
    x: float,
    tall: float,
    coat: Colour,
    swing: float,
) -> None:
    shoulder, hem = tall * 0.82, tall * float(rng.choice([0.34, 0.45, 0.47]))
    wide = float(rng.uniform(0.19, 0.25))
    dark = (coat[0] * 4 // 5, coat[1] * 4 // 5, coat[2] * 4 // 5)
    for side in (-1, 1):
        hand = (x + side * (wide + 0.06), tall * 0.44 + side * swing * 0.05)
        easel.line([(x + side * wide, shoulder - 0.04), hand], 0.11, dark)
        easel.ellipse(hand[0], hand[1] - 0.03, 0.045, 0.055, SKINS[0])
    body = [
        (x - wide, hem),
        (x + wide, hem),
        (x + wide, shoulder - 0.05),
        (x + 0.1, shoulder + 0.03),
    ]
    easel.polygon([*body, (x - 0.1, shoulder + 0.03), (x - wide, shoulder - 0.05)], coat)
    easel.rectangle(x - 0.012, hem, 0.024, shoulder - hem, dark)


def _head(easel: Easel, rng: np.random.Generator, x: float, tall: float) -> None:
    skin, hair = (group[int(rng.integers(len(group)))] for group in (SKINS, HAIRS))
    easel.rectangle(x - 0.05, tall * 0.82, 0.1, 0.1, skin)
    easel.ellipse(x, tall - 0.13, 0.095, 0.13, skin)
    if rng.random() < 0.6:  # seen from behind
        easel.ellipse(x, tall - 0.11, 0.1, 0.12, hair)
    else:
        easel.ellipse(x, tall - 0.06, 0.1, 0.07, hair)


def _shaded(easel: Easel, rng: np.random.Generator) -> Texture:
    """Light from the upper left."""
    rows, columns = easel.shape
    across = np.linspace(1.12, 0.82, columns, dtype=np.float32)[None, :]
    up = np.linspace(1.1, 0.85, rows, dtype=np.float32)[:, None]
    easel.multiply(across * up * grain(rng, (rows, columns), {3: 0.08, 9: 0.1}))
    return easel.build(levels=5)
