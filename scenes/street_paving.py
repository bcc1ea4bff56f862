"""Sections of ground: carriageway with its markings, kerbs, pavements and what lies beyond them.

A street's ground is a row of sections, each `LENGTH` metres long and a picture of its own. Distance
shrinks the ground far more along the road (as z²) than across it (as z), so the sizes of a section
halve along first.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scenes.camvid import CLASSES
from scenes.dataset import Colour
from scenes.street_light import Texels, texel
from scenes.street_texture import grain

LENGTH = 24.0  # metres of road in a section
HALF_SPAN = 12.0  # metres to either side; farther out repeats the edge
ALONG, ACROSS = 512, 960  # texels of a section: 21 and 40 a metre
KERB_WIDTH = 0.16  # metres
HALVINGS = 8  # sizes of a section, each half as long as the one before
ROAD, PAVEMENT, TREE = (CLASSES.index(name) for name in ("Road", "Pavement", "Tree"))
ASPHALT, KERB, FLAGS, GRASS, YARD, WHITE, YELLOW = range(7)
MATERIALS = (  # colour at a tone of 1, and label
    ((84, 86, 91), ROAD),
    ((132, 130, 125), PAVEMENT),
    ((98, 95, 92), PAVEMENT),
    ((86, 102, 50), TREE),
    ((92, 92, 95), ROAD),
    ((206, 206, 202), ROAD),
    ((186, 158, 76), ROAD),
)
GROUNDS = ("paved", "grass", "yard", "side street")
MARKINGS = ("dashes", "zigzag", "zebra", "keep clear", "arrows", "stop line")
LETTERS = {
    "K": "1001 1010 1100 1010 1001",
    "E": "1111 1000 1110 1000 1111",
    "P": "1110 1001 1110 1000 1000",
    "C": "1111 1000 1000 1000 1111",
    "L": "1000 1000 1000 1000 1111",
    "A": "0110 1001 1111 1001 1001",
    "R": "1110 1001 1110 1010 1001",
}
Floats = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Profile:
    """The cross-section of a street, in metres."""

    half_road: float
    pavement: float
    yellow_lines: bool
    slabs: bool


@dataclass(frozen=True)
class Section:
    """What one stretch of ground looks like: to the left, to the right, and on the road."""

    profile: Profile
    left: str
    right: str
    marking: str
    variant: int


def halvings_across(halvings: NDArray[np.intp]) -> NDArray[np.intp]:
    """How often a section halved `halvings` times along is halved across: every second time."""
    return np.maximum(halvings - 2, 0) // 2


def section_levels(section: Section) -> tuple[Texels, ...]:
    """The flat texels of a section at each number of halvings along."""
    texels = _painted(section)
    levels = [texels.ravel()]
    widths = halvings_across(np.arange(HALVINGS))
    for halvings in range(1, HALVINGS):
        texels = _mean(texels[0::2], texels[1::2], halvings % 2)
        if widths[halvings] > widths[halvings - 1]:
            texels = _mean(texels[:, 0::2], texels[:, 1::2], halvings % 2)
        levels.append(texels.ravel())
    return tuple(levels)


def _mean(a: Texels, b: Texels, up: int) -> Texels:
    """Bytewise mean with the label of `a`; rounding alternates so that nothing drifts darker."""
    half = ((a ^ b) >> np.uint32(1)) & np.uint32(0x7F7F7F)
    colour = (a | b) - half if up else (a & b) + half
    return (colour & np.uint32(0xFFFFFF)) | (a & np.uint32(0xFF000000))


@dataclass
class _Sheet:
    """A section while it is painted; x across, from the road's middle, and z along, in metres."""

    profile: Profile
    material: NDArray[np.uint8]
    tone: NDArray[np.float32]
    x: Floats
    z: Floats
    rng: np.random.Generator

    def mark(self, where: Mask, paint: int = WHITE) -> None:
        """Paint on the road, speckled where it is worn."""
        rows = np.flatnonzero(where.any(axis=1)) if where.shape[0] > 1 else np.arange(ALONG)
        columns = np.flatnonzero(where.any(axis=0)) if where.shape[1] > 1 else np.arange(ACROSS)
        if not rows.size or not columns.size:
            return
        part = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        inside = np.broadcast_to(where, self.material.shape)[part]
        inside = inside & (self.material[part] == ASPHALT) & (_noise("worn")[part] > 0.8)
        self.material[part][inside] = paint


def _painted(section: Section) -> Texels:
    kinds = [GROUNDS.index(section.left), GROUNDS.index(section.right)]
    rng = np.random.default_rng([section.variant, *kinds, MARKINGS.index(section.marking)])
    x = ((np.arange(ACROSS, dtype=np.float32) + 0.5) / ACROSS * 2 - 1)[None] * HALF_SPAN
    z = (np.arange(ALONG, dtype=np.float32) + 0.5)[:, None] / ALONG * LENGTH
    material = np.full((ALONG, ACROSS), ASPHALT, np.uint8)
    sheet = _Sheet(section.profile, material, _noise("asphalt").copy(), x, z, rng)
    _wear(sheet)
    for side, kind in ((-1, section.left), (1, section.right)):
        _side(sheet, side, kind)
    _markings(sheet, section)
    return _coloured(sheet)


def _coloured(sheet: _Sheet) -> Texels:
    """Texels by one look-up per material and tone, tones in steps of 1/128."""
    tone = np.minimum(sheet.tone * np.float32(128), 255).astype(np.uint16)
    texels: Texels = _paints().take(sheet.material * np.uint16(256) + tone)
    return texels


@lru_cache(maxsize=1)
def _paints() -> Texels:
    """The texel of each material at each of 256 tones."""
    paints = [
        texel(_toned(colour, tone), label) for colour, label in MATERIALS for tone in range(256)
    ]
    return np.array(paints, np.uint32)


def _toned(colour: Colour, tone: int) -> Colour:
    red, green, blue = (min(255, channel * tone >> 7) for channel in colour)
    return red, green, blue


@lru_cache(maxsize=4)
def _noise(kind: str) -> NDArray[np.float32]:
    """Factors around 1 for a whole section, which continue at its ends."""
    strengths: dict[str, dict[int, float]] = {
        "asphalt": {1: 0.09, 3: 0.07, 24: 0.05, 90: 0.07},
        "flags": {1: 0.08, 4: 0.06, 40: 0.09},
        "grass": {1: 0.22, 3: 0.16, 20: 0.12, 80: 0.15},
        "worn": {1: 0.22, 4: 0.22, 20: 0.2},
    }
    fade = 64
    rng = np.random.default_rng([7, sorted(strengths).index(kind)])
    noise = grain(rng, (ALONG + fade, ACROSS), strengths[kind])
    share = np.linspace(0, 1, fade, dtype=np.float32)[:, None]
    noise[:fade] = noise[:fade] * share + noise[ALONG:] * (1 - share)
    return noise[:ALONG]


def _wear(sheet: _Sheet) -> None:
    """Tracks polished by tyres, repairs with a sealed edge, a manhole cover."""
    rng, half = sheet.rng, sheet.profile.half_road
    tracks = [lane + wheel for lane in (-1.75, 1.75) for wheel in (-0.75, 0.75)]
    polish = sum(np.exp(-(((sheet.x - track) / 0.28) ** 2)) for track in tracks)
    sheet.tone *= np.float32(1) + np.float32(0.06) * polish
    for _ in range(int(rng.integers(1, 4))):
        left, near = rng.uniform(-half, half - 1), rng.uniform(0, LENGTH - 6)
        width, depth = rng.uniform(0.6, 2.2), rng.uniform(1, 6)
        sheet.tone[_window(left, near, width, depth)] *= np.float32(0.80)
        inner = _window(left + 0.04, near + 0.06, width - 0.08, depth - 0.12)
        sheet.tone[inner] *= np.float32(1.09)
    left, near = rng.uniform(-2.3, 1.7), rng.uniform(2, 22)
    cover = _window(left, near, 0.66, 0.66)
    x, z = sheet.x[0, cover[1]] - left - 0.33, sheet.z[cover[0]] - near - 0.33
    sheet.tone[cover] *= np.where(np.hypot(x, z) < 0.33, np.float32(0.62), np.float32(1))


def _window(left: float, near: float, width: float, depth: float) -> tuple[slice, slice]:
    """The texels of a rectangle."""
    across, along = ACROSS / (2 * HALF_SPAN), ALONG / LENGTH
    first, last = (round((edge + HALF_SPAN) * across) for edge in (left, left + width))
    return np.s_[round(near * along) : round((near + depth) * along), first:last]


def _side(sheet: _Sheet, side: int, kind: str) -> None:
    """One side of the road: gutter, kerb stone, pavement, and the ground behind it."""
    columns = np.s_[:, : ACROSS // 2] if side < 0 else np.s_[:, ACROSS // 2 :]
    x, material, tone = sheet.x[columns], sheet.material[columns], sheet.tone[columns]
    out = x * side - sheet.profile.half_road  # [1, columns]: metres outside the road
    if kind == "side street":  # a road across, its corners rounded to 3 m: [rows, columns]
        mouth = np.abs(sheet.z - LENGTH / 2) - 3.4
        inner = np.hypot(np.minimum(out - 3, 0), np.minimum(mouth - 3, 0))
        nearest = np.minimum(out, mouth)
        out = np.where(nearest < 3, 3 - inner, nearest)
    paved = out > 0
    kerb = paved & (out <= KERB_WIDTH)
    _dim(tone, 0.82, (out > -0.35) & ~paved)
    np.copyto(material, FLAGS, where=paved)
    np.copyto(material, KERB, where=kerb)
    np.copyto(tone, _noise("flags")[columns], where=paved)
    _dim(tone, 0.75, kerb & (sheet.z % 0.9 < 0.03))
    if sheet.profile.slabs:
        _slabs(sheet, tone, out)
    behind = out > sheet.profile.pavement
    if kind == "grass":
        np.copyto(material, GRASS, where=behind)
        np.copyto(tone, _noise("grass")[columns], where=behind)
    elif kind == "yard":
        np.copyto(material, YARD, where=behind)


def _dim(tone: NDArray[np.float32], by: float, where: Mask) -> None:
    np.multiply(tone, np.float32(by), out=tone, where=where)


def _slabs(sheet: _Sheet, tone: NDArray[np.float32], out: Floats) -> None:
    """Paving slabs of 0.6 m: each a little lighter or darker, with dark joints."""
    across, along = (np.asarray(metres / 0.6, np.float32) for metres in (out, sheet.z))
    column, row = across.astype(np.int32) & 63, along.astype(np.int32) & 63
    tint = sheet.rng.uniform(0.88, 1.1, (64, 64)).astype(np.float32)
    flags = out > KERB_WIDTH
    np.multiply(tone, tint.ravel().take((row << 6) + column), out=tone, where=flags)
    for place, width in ((across, 0.05), (along, 0.08)):
        _dim(tone, 0.72, (place - np.floor(place) < width) & flags)


def _markings(sheet: _Sheet, section: Section) -> None:
    half, x, z, kind = section.profile.half_road, sheet.x, sheet.z, section.marking
    if section.profile.yellow_lines:
        for side, ground in ((-1, section.left), (1, section.right)):
            from_kerb = half - x * side
            if ground != "side street":
                sheet.mark(abs(from_kerb - 0.30) < 0.05, YELLOW)
                sheet.mark(abs(from_kerb - 0.52) < 0.05, YELLOW)
    if kind == "zebra":
        sheet.mark((abs(z - 12) < 1.6) & ((x / 0.6 % 2) < 1))
        sheet.mark((abs(abs(z - 12) - 2.6) < 0.09) & ((x / 0.45 % 2) < 1))
    if kind in ("zigzag", "zebra"):
        wave = np.abs((z / 4 % 2) - 1) * 0.5 - 0.25
        for centre in (-half + 1.1, 0.0, half - 1.1):
            sheet.mark((abs(x - centre - wave) < 0.06) & (abs(z - 12) > 3.2))
    else:
        share = 0.667 if section.variant % 2 else 0.333
        sheet.mark((abs(x) < 0.06) & ((z / 6 % 1) < share))
    if kind == "stop line":
        sheet.mark((abs(z - 5) < 0.16) & (x < -0.15) & (x > -half))
    if kind == "arrows":
        sheet.mark((abs(x + 1.75) < 0.08) & (abs(z - 10) < 2.0))
        sheet.mark((abs(x + 1.75) < (14.2 - z) * 0.22) & (z > 12) & (z < 14.2))
    if kind == "keep clear":
        for word, near in (("CLEAR", 5.0), ("KEEP", 11.0)):
            _write(sheet, word, -1.75, near)


def _write(sheet: _Sheet, word: str, x: float, near: float) -> None:
    """A word on the ground, its letters drawn out to 2.8 m."""
    width, left = 0.11, x - len(word) * 5 * 0.11 / 2
    for place, letter in enumerate(word):
        for row, bits in enumerate(LETTERS[letter].split()):
            for column, bit in enumerate(bits):
                if bit == "1":
                    at = left + (place * 5 + column) * width
                    dot = _window(at, near + (4 - row) * 0.56, width, 0.58)
                    sheet.material[dot] = WHITE
