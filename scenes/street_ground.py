"""The ground: carriageway with its markings, kerbs, pavements and what lies beyond them.

A street's ground is a row of sections, each `LENGTH` metres long and a picture of its own. Distance
shrinks the ground far more along the road (as z²) than across it (as z), so the sizes of a section
halve along first.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from scenes.camvid import CLASSES
from scenes.dataset import Colour
from scenes.street_canvas import EYE, Canvas
from scenes.street_texture import Texels, grain, pack

LENGTH = 24.0  # metres of road in a section
HALF_SPAN = 12.0  # metres to either side; farther out repeats the edge
ALONG, ACROSS = 512, 960  # texels of a section: 21 and 40 a metre
HALVINGS = 8  # along the road
ROAD, PAVEMENT, TREE = (CLASSES.index(name) for name in ("Road", "Pavement", "Tree"))

GROUNDS = ("paved", "grass", "yard", "side street")
MARKINGS = ("dashes", "zigzag", "zebra", "keep clear", "arrows", "stop line")


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


class Ground:
    """Draws the ground under a camera; holds where each pixel below the horizon looks."""

    def __init__(self, canvas: Canvas, rows: int) -> None:
        drop = np.arange(rows) + 0.5
        self.depth = canvas.focal * EYE / drop
        self._halvings = _halvings(self.depth, canvas.focal)
        self._density = ACROSS / (2 * HALF_SPAN) / 2.0 ** _across(self._halvings)
        columns = np.arange(-canvas.width, canvas.width) + 0.5
        across = self.depth[:, None] * columns / canvas.focal
        self._table = np.floor(across * self._density[:, None]).astype(np.intp)
        self._zero = canvas.width

    def draw(
        self,
        canvas: Canvas,
        travelled: float,
        centre: NDArray[np.float64],
        sections: dict[int, Section],
    ) -> None:
        """Draw all rows below the horizon.

        `centre` is where the middle of the road lies at each row's depth, in camera metres.
        `sections` gives the section of each index travelled // LENGTH in view.
        """
        horizon = int(canvas.cy)
        rows = canvas.height - horizon
        first = self._zero - int(canvas.cx)
        offset = np.floor((HALF_SPAN - centre[:rows]) * self._density[:rows]).astype(np.intp)
        index = self._table[:rows, first : first + canvas.width] + offset[:, None]
        width = ACROSS >> _across(self._halvings[:rows])
        np.maximum(index, 0, out=index)
        np.minimum(index, width[:, None] - 1, out=index)
        place = (travelled + self.depth[:rows]) / LENGTH
        number = np.floor(place).astype(np.intp)
        texel_rows = ((place - number) * (ALONG >> self._halvings[:rows])).astype(np.intp)
        index += (texel_rows * width)[:, None]
        self._gather(canvas.texels[horizon:], index, number, sections)

    def _gather(
        self,
        out: Texels,
        index: NDArray[np.intp],
        number: NDArray[np.intp],
        sections: dict[int, Section],
    ) -> None:
        key = number * HALVINGS + self._halvings[: len(number)]
        ends = np.append(np.flatnonzero(np.diff(key)) + 1, len(key))
        begin = 0
        for end in ends.tolist():
            section = sections.get(int(number[begin]), sections[max(sections)])
            level = section_levels(section)[int(self._halvings[begin])]
            out[begin:end] = level.take(index[begin:end])
            begin = end


def _halvings(depth: NDArray[np.float64], focal: float) -> NDArray[np.intp]:
    """How often a section is halved along the road at each depth: one texel per row of pixels."""
    footprint = depth**2 / (focal * EYE) * (ALONG / LENGTH)
    steps = sum((footprint > 2.0**k * 1.42).astype(np.intp) for k in range(HALVINGS - 1))
    return np.asarray(steps, np.intp)


def _across(halvings: NDArray[np.intp]) -> NDArray[np.intp]:
    """How often it is then halved across: once for every two along, from the fourth on."""
    return np.maximum(halvings - 2, 0) // 2


@lru_cache(maxsize=48)  # 2.5 MB each; one street uses about a dozen
def section_levels(section: Section) -> tuple[Texels, ...]:
    """The flat texels of a section at each number of halvings along."""
    colour, labels = _painted(section)
    mean = colour
    levels = []
    for halvings in range(HALVINGS):
        levels.append(pack((mean + 0.5).astype(np.uint8), labels).ravel())
        mean, labels = (mean[0::2] + mean[1::2]) / 2, labels[0::2]
        if _across(np.array(halvings + 1)) > _across(np.array(halvings)):
            mean, labels = (mean[:, 0::2] + mean[:, 1::2]) / 2, labels[:, 0::2]
    return tuple(levels)


@dataclass
class _Sheet:
    """The section while it is painted: x across and z along in metres, from the road's middle."""

    colour: NDArray[np.float32]
    labels: NDArray[np.uint8]
    x: NDArray[np.float32]
    z: NDArray[np.float32]
    rng: np.random.Generator

    def fill(self, where: NDArray[np.bool_], colour: Colour, label: int) -> None:
        where = np.broadcast_to(where, self.labels.shape)
        self.colour[where] = colour
        self.labels[where] = label

    def mark(self, where: NDArray[np.bool_], colour: Colour, worn: NDArray[np.float32]) -> None:
        """Paint on the road: it lets the asphalt through where it is worn."""
        where = np.broadcast_to(where, self.labels.shape) & (self.labels == ROAD)
        cover = np.clip(worn[where], 0.25, 0.95)[:, None]
        self.colour[where] = self.colour[where] * (1 - cover) + np.float32(colour) * cover


def _painted(section: Section) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    names = ("left", "right", "marking")
    kinds = [(*GROUNDS, *MARKINGS).index(getattr(section, name)) for name in names]
    rng = np.random.default_rng([section.variant, *kinds])
    x = (np.arange(ACROSS, dtype=np.float32) + 0.5) / ACROSS * 2 * HALF_SPAN - HALF_SPAN
    z = (np.arange(ALONG, dtype=np.float32) + 0.5)[:, None] / ALONG * LENGTH
    shape = (ALONG, ACROSS)
    sheet = _Sheet(np.zeros((*shape, 3), np.float32), np.zeros(shape, np.uint8), x, z, rng)
    _asphalt(sheet, section.profile)
    for side, kind in ((-1, section.left), (1, section.right)):
        _pavement(sheet, section.profile, side, kind)
    _markings(sheet, section)
    return np.clip(sheet.colour, 0, 255), sheet.labels


def _asphalt(sheet: _Sheet, profile: Profile) -> None:
    shape, rng = sheet.labels.shape, sheet.rng
    tone = grain(rng, shape, {1: 0.10, 3: 0.07, 24: 0.05, 90: 0.06})
    lane = profile.half_road / 2
    for centre in (-lane, lane):
        for wheel in (-0.75, 0.75):  # tyres polish two tracks in each lane
            tone += 0.06 * np.exp(-(((sheet.x - centre - wheel) / 0.28) ** 2))
    for _ in range(3):  # repairs: darker rectangles with a sealed edge
        x0, z0 = rng.uniform(-profile.half_road, profile.half_road - 1), rng.uniform(0, LENGTH)
        w, d = rng.uniform(0.6, 2.2), rng.uniform(1, 7)
        inside = (abs(sheet.x - x0) < w / 2) & (abs(sheet.z - z0) < d / 2)
        edge = (abs(sheet.x - x0) < w / 2 + 0.04) & (abs(sheet.z - z0) < d / 2 + 0.04)
        tone[edge] *= 0.8
        tone[inside] *= 1.12
    cover = np.hypot(sheet.x - rng.uniform(-2, 2), sheet.z - rng.uniform(2, 22)) < 0.33
    tone[cover] *= 0.62
    sheet.colour[:] = tone[..., None] * np.float32((92, 94, 99))
    sheet.labels[:] = ROAD


def _pavement(sheet: _Sheet, profile: Profile, side: int, kind: str) -> None:
    """One side of the road: gutter, kerb stone, pavement, and the ground behind it."""
    shape, rng = sheet.labels.shape, sheet.rng
    out = sheet.x * side - profile.half_road  # metres outside the kerb
    out = np.broadcast_to(out, shape)
    if kind == "side street":  # a road across, its corners rounded to 3 m
        mouth = np.abs(sheet.z - LENGTH / 2) - 3.4
        inner = np.hypot(np.minimum(out - 3, 0), np.minimum(mouth - 3, 0))
        out = np.where(np.minimum(out, mouth) < 3, 3 - inner, np.minimum(out, mouth))
    gutter = (out > -0.35) & (out <= 0)
    sheet.colour[gutter] *= np.float32(0.82)
    sheet.fill((out > 0) & (out <= 0.16), (150, 148, 142), PAVEMENT)
    sheet.fill(out > 0.16, (118, 114, 110), PAVEMENT)
    joints = ((sheet.z % 0.9) < 0.03) & (out > 0) & (out <= 0.16)
    sheet.colour[joints] *= np.float32(0.75)
    if profile.slabs:
        _slabs(sheet, out)
    behind = out > profile.pavement
    if kind == "grass":
        green = grain(rng, shape, {1: 0.22, 3: 0.16, 20: 0.12, 80: 0.15})
        sheet.fill(behind, (88, 104, 52), TREE)
        sheet.colour[behind] *= green[behind][:, None]
    elif kind == "yard":
        sheet.fill(behind & (out > profile.pavement + 0.3), (104, 104, 106), ROAD)
    dirt = grain(rng, shape, {1: 0.08, 4: 0.06, 40: 0.08})
    paved = sheet.labels == PAVEMENT
    sheet.colour[paved & (out > 0)] *= dirt[paved & (out > 0)][:, None]


def _slabs(sheet: _Sheet, out: NDArray[np.float32]) -> None:
    size = 0.6
    column, row = np.floor(out / size).astype(np.intp), np.floor(sheet.z / size).astype(np.intp)
    tint = sheet.rng.uniform(0.88, 1.1, (64, 64)).astype(np.float32)
    paved = out > 0.16
    sheet.colour[paved] *= tint[row % 64, column % 64][paved][:, None]
    joint = paved & ((out % size < 0.03) | (sheet.z % size < 0.045))
    sheet.colour[joint] *= np.float32(0.72)


def _markings(sheet: _Sheet, section: Section) -> None:
    worn = grain(sheet.rng, sheet.labels.shape, {1: 0.25, 4: 0.25, 20: 0.2}) - np.float32(0.25)
    white, yellow = (226, 226, 222), (205, 176, 84)
    half, x, z = section.profile.half_road, sheet.x, sheet.z
    if section.profile.yellow_lines:
        for side, kind in ((-1, section.left), (1, section.right)):
            if kind == "side street":
                continue
            from_kerb = half - x * side
            double = (abs(from_kerb - 0.30) < 0.05) | (abs(from_kerb - 0.52) < 0.05)
            sheet.mark(double, yellow, worn)
    kind = section.marking
    if kind == "zebra":
        stripes = (abs(z - 12) < 1.6) & ((x / 0.6 % 2) < 1)
        sheet.mark(stripes, white, worn)
        give_way = (abs(abs(z - 12) - 2.6) < 0.09) & ((x / 0.45 % 2) < 1)
        sheet.mark(give_way, white, worn)
    if kind in ("zigzag", "zebra"):
        wave = np.abs((z / 4 % 2) - 1) * 0.5 - 0.25
        for centre in (-half + 1.1, 0.0, half - 1.1):
            sheet.mark((abs(x - centre - wave) < 0.06) & (abs(z - 12) > 3.2), white, worn)
    else:
        long = section.variant % 2
        period, share = (6.0, 0.667) if long else (6.0, 0.333)
        sheet.mark((abs(x) < 0.06) & ((z / period % 1) < share), white, worn)
    if kind == "stop line":
        sheet.mark((abs(z - 17) < 0.16) & (x < -0.15), white, worn)
    if kind == "arrows":
        _arrow(sheet, -half / 2, white, worn)
    if kind == "keep clear":
        _letters(sheet, -half / 2, white, worn)


def _arrow(sheet: _Sheet, x: float, colour: Colour, worn: NDArray[np.float32]) -> None:
    shaft = (abs(sheet.x - x) < 0.08) & (abs(sheet.z - 10) < 2.0)
    head = (abs(sheet.x - x) < (14.2 - sheet.z) * 0.22) & (sheet.z > 12) & (sheet.z < 14.2)
    sheet.mark(shaft | head, colour, worn)


def _letters(sheet: _Sheet, x: float, colour: Colour, worn: NDArray[np.float32]) -> None:
    """KEEP over CLEAR, as tall on the ground as such letters are: 2.8 m."""
    font = {
        "K": "1001 1010 1100 1010 1001",
        "E": "1111 1000 1110 1000 1111",
        "P": "1110 1001 1110 1000 1000",
        "C": "1111 1000 1000 1000 1111",
        "L": "1000 1000 1000 1000 1111",
        "A": "0110 1001 1111 1001 1001",
        "R": "1110 1001 1110 1010 1001",
    }
    for word, z0 in (("CLEAR", 5.0), ("KEEP", 11.0)):
        width = 0.11
        left = x - len(word) * 5 * width / 2
        for place, letter in enumerate(word):
            for row, bits in enumerate(font[letter].split()):
                for column, bit in enumerate(bits):
                    x0, z1 = left + (place * 5 + column) * width, z0 + (4 - row) * 0.56
                    dot = (sheet.x >= x0) & (sheet.x < x0 + width) & (abs(sheet.z - z1) < 0.29)
                    if bit == "1":
                        sheet.mark(dot, colour, worn)
