"""Trees, bare and in leaf, bushes and hedges."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from PIL import Image

from scenes.camvid import CLASSES
from scenes.dataset import Colour
from scenes.street_texture import Easel, Texture, build_texture, grain

TREE = CLASSES.index("Tree")
KINDS = ("bare", "leafy", "conifer", "bush")
VARIANTS = 4
DENSITY = 26  # texels per metre
WOODS = 24.0  # metres of trees in one picture
BARKS: tuple[Colour, ...] = ((74, 66, 58), (88, 82, 74), (62, 54, 46))
LEAVES: tuple[Colour, ...] = ((74, 98, 40), (92, 110, 52), (60, 84, 44), (112, 116, 54))


@lru_cache(maxsize=len(KINDS) * VARIANTS)
def tree(kind: str, variant: int) -> Texture:
    """A tree or bush, the same for the same arguments."""
    rng = np.random.default_rng([KINDS.index(kind), variant, 5])
    painter = {"bare": _bare, "leafy": _leafy, "conifer": _conifer, "bush": _bush}[kind]
    return painter(rng)


@lru_cache(maxsize=VARIANTS)
def hedge(variant: int) -> Texture:
    """Eight metres of hedge, to be repeated along a wall."""
    rng = np.random.default_rng([variant, 6])
    height = float(rng.uniform(1.1, 2.0))
    easel = Easel(8, height + 0.3, DENSITY, TREE)
    easel.rectangle(0, 0, 8, height - 0.1, (40, 52, 28))
    _leaves(easel, rng, [(x, height / 2, 0.6, height / 2) for x in np.arange(0.3, 8, 0.5)], 1500)
    return _finished(easel, rng)


@lru_cache(maxsize=2 * VARIANTS)
def woods(bare: bool, variant: int) -> Texture:
    """A row of trees and undergrowth as one picture, 24 m long: a park's background."""
    rng = np.random.default_rng([variant, 8])
    density = DENSITY / 2
    picture = Image.new("RGBA", (round(WOODS * density), round(14 * density)))
    for place in range(11):
        kind = "bush" if place > 6 else "bare" if bare and rng.random() < 0.8 else "leafy"
        plant = tree(kind, int(rng.integers(VARIANTS))).picture(1)
        left = int(rng.integers(0, picture.width - plant.width))
        picture.alpha_composite(plant, (left, max(0, picture.height - plant.height)))
    return build_texture(picture, TREE, density, levels=3, keep=0.45)


def _bare(rng: np.random.Generator) -> Texture:
    """A winter crown: branches that fork, thinner each time."""
    height = float(rng.uniform(8.5, 12))
    easel = Easel(height * 0.95, height, DENSITY, TREE)
    bark = BARKS[int(rng.integers(len(BARKS)))]
    tips = [(height * 0.475, 0.0, math.pi / 2, height * 0.24, 0.16)]
    while tips:
        x, y, angle, length, half = tips.pop()
        x1, y1 = x + length * math.cos(angle), y + length * math.sin(angle)
        shade = float(rng.uniform(0.8, 1.15))
        colour = (int(bark[0] * shade), int(bark[1] * shade), int(bark[2] * shade))
        easel.line([(x, y), (x1, y1)], max(2 * half, 0.035), colour)
        if half < 0.014:
            continue
        for _ in range(int(rng.integers(3, 6))):
            turn = float(rng.uniform(-0.85, 0.85))
            up = (math.pi / 2 - angle) * 0.12
            shrink = float(rng.uniform(0.62, 0.86))
            at = float(rng.uniform(0.45, 1.0))
            root = (x + (x1 - x) * at, y + (y1 - y) * at)
            tips.append((*root, angle + turn + up, length * shrink, half * 0.58))
    easel.multiply(grain(rng, easel.shape, {8: 0.1}))
    return easel.build(levels=5, keep=0.3)


def _leafy(rng: np.random.Generator) -> Texture:
    height = float(rng.uniform(7.5, 11))
    width = height * float(rng.uniform(0.7, 0.9))
    easel = Easel(width, height, DENSITY, TREE)
    bark = BARKS[int(rng.integers(len(BARKS)))]
    easel.line([(width / 2, 0), (width / 2 + 0.1, height * 0.5)], 0.34, bark)
    clumps = []
    for _ in range(14):
        angle, reach = rng.uniform(0, math.tau), math.sqrt(rng.uniform(0, 1))
        x = width / 2 + reach * width * 0.34 * math.cos(angle)
        y = height * 0.62 + reach * height * 0.26 * math.sin(angle)
        size = float(rng.uniform(0.1, 0.17)) * width
        clumps.append((float(x), float(y), size, size * 0.85))
        easel.line([(width / 2, height * 0.3), (float(x), float(y))], 0.09, bark)
    _leaves(easel, rng, clumps, 2400)
    return _finished(easel, rng)


def _conifer(rng: np.random.Generator) -> Texture:
    height = float(rng.uniform(6, 10))
    width = height * 0.5
    easel = Easel(width, height, DENSITY, TREE)
    easel.line([(width / 2, 0), (width / 2, height * 0.8)], 0.25, BARKS[2])
    clumps = []
    for step in np.linspace(0.12, 0.97, 16):
        reach = (1 - step) * 0.42 * width + 0.1
        clumps.append((width / 2, height * float(step), reach, height * 0.05))
    _leaves(easel, rng, clumps, 1900, dark=0.6)
    return _finished(easel, rng)


def _bush(rng: np.random.Generator) -> Texture:
    width, height = float(rng.uniform(1.8, 3.2)), float(rng.uniform(1.2, 2.4))
    easel = Easel(width, height, DENSITY, TREE)
    centre = (width / 2, height * 0.42, width * 0.36, height * 0.38)
    foot = (width / 2, height * 0.2, width * 0.42, height * 0.2)
    _leaves(easel, rng, [centre, foot], 700, dark=0.8)
    return _finished(easel, rng)


def _leaves(
    easel: Easel,
    rng: np.random.Generator,
    clumps: list[tuple[float, float, float, float]],
    count: int,
    dark: float = 1.0,
) -> None:
    """Scatter leaves over ellipses (x, y, rx, ry): dark ones inside first, light ones on top."""
    base = np.array(LEAVES[int(rng.integers(len(LEAVES)))])
    for layer, depth in ((0, 0.5), (1, 0.78), (2, 1.1)):
        size = count // 3
        x, y, rx, ry = np.array(clumps)[rng.integers(len(clumps), size=size)].T
        angle, reach = rng.uniform(0, math.tau, size), np.sqrt(rng.uniform(0, 1.25, size))
        px = x + rx * reach * np.cos(angle)
        py = y + ry * reach * np.sin(angle) + 0.12 * layer * ry
        light = dark * depth * rng.uniform(0.75, 1.25, size) * (1 + 0.25 * np.sin(angle))
        colours = np.minimum(base * light[:, None], 255).astype(int).tolist()
        for at, up, r, colour in zip(px, py, rng.uniform(0.07, 0.19, size), colours, strict=True):
            easel.ellipse(at, up, r, r * 0.8, (colour[0], colour[1], colour[2]))


def _finished(easel: Easel, rng: np.random.Generator) -> Texture:
    rows = easel.shape[0]
    up = np.linspace(1.12, 0.72, rows, dtype=np.float32)[:, None]
    easel.multiply(grain(rng, easel.shape, {2: 0.12, 14: 0.14}) * up)
    return easel.build(levels=5, keep=0.45)
