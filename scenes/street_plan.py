"""What a street is made of: its character, and the things that stand in each of its blocks.

A block is one section of ground long. What it holds depends on the seed and its number alone, so
that any frame can be drawn without the ones before it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from scenes.camvid import CLASSES
from scenes.street_canvas import SHADED, SUNLIT, Light
from scenes.street_facades import VARIANTS, blank_wall, facade
from scenes.street_furniture import FENCES, SIGNS, fence, garden_wall, lantern, sign
from scenes.street_greenery import VARIANTS as TREES
from scenes.street_greenery import hedge, tree, woods
from scenes.street_paving import LENGTH, Profile, Section
from scenes.street_sky import WEATHERS
from scenes.street_texture import Texture, joined, texel
from scenes.street_things import Picture, Post, Thing, Vehicle, Wall

FRONTS = {"shop": 6.8, "house": 5.4, "office": 15.0, "hall": 14.0}  # typical widths, metres
ROOFS = {"shop": 4.0, "house": 4.0, "office": 1.5, "hall": 6.0}  # what a front has above its eaves
LOWEST = {"shop": 6.4, "house": 5.8, "office": 7.1, "hall": 8.5}  # the lowest eaves, metres
SHADOW_REACH = 0.75  # metres of shadow across the street for a metre of front
FAR_DENSITIES = (16.0, 8.0, 4.0)  # texels per metre of a far row of fronts
FLEET = tuple(  # every vehicle there is: few enough to keep drawn
    (kind, paint)
    for kind, paints in (
        ("hatchback", (0, 1, 4, 7)),
        ("saloon", (2, 3, 5, 9)),
        ("estate", (1, 6, 8)),
        ("off-roader", (0, 2)),
        ("van", (3, 5)),
        ("bus", (9,)),
    )
    for paint in paints
)
STRETCHES = ("shops", "terrace", "offices", "college", "park", "yard")
POLE = CLASSES.index("Pole")
KEPT = 8  # blocks, one more than are ever in view; up to 2 MB each
BENDS = 64  # blocks after which the bends repeat
GREY, DARK = texel((116, 120, 122), POLE), texel((52, 54, 58), POLE)
# Only things in a nearer layer can hide those in a farther one: rays diverge from the road.
BACKDROP, BUILDINGS, GARDENS, EDGE, PAVEMENT, KERB, ROAD = range(6, -1, -1)
LAYERS = 7


@dataclass(frozen=True)
class Character:
    """What all of a street shares; drawn from its seed."""

    seed: int
    profile: Profile
    weather: str
    sun: int  # -1 left, 1 right, 0 none
    bare_trees: float
    fleet: tuple[tuple[str, int], ...]
    parking: float
    traffic: float
    walkers: float
    weights: tuple[float, ...]

    @staticmethod
    def of(seed: int) -> Character:
        rng = np.random.default_rng([seed, 1])
        weather = str(rng.choice(sorted(WEATHERS)))
        fleet = [FLEET[int(place)] for place in rng.choice(len(FLEET), 9, replace=False)]
        weights = rng.dirichlet((2.2, 1.6, 0.8, 0.8, 2.4, 1.0))
        profile = Profile(
            half_road=float(rng.choice([3.8, 5.2, 6.0])),
            pavement=float(rng.choice([2.4, 3.2, 4.2])),
            yellow_lines=bool(rng.random() < 0.5),
            slabs=bool(rng.random() < 0.6),
        )
        return Character(
            seed, profile, weather,
            sun=int(rng.choice([-1, 1])) if weather in ("clear", "broken") else 0,
            bare_trees=float(rng.choice([0.9, 0.5, 0.15])),
            fleet=tuple(fleet),
            parking=float(rng.uniform(0.1, 0.6)),
            traffic=float(rng.uniform(0.4, 0.95)),
            walkers=float(rng.uniform(0.4, 1.0)),
            weights=tuple(float(w) for w in weights),
        )  # fmt: skip

    def front_light(self, side: int) -> Light:
        """The light on fronts of the left (-1) or right (1) side: the sun stands behind one."""
        return SHADED if side == self.sun else SUNLIT


@dataclass
class Block:
    """One block's ground and its things, layer by layer."""

    section: Section
    layers: list[list[Thing]] = field(default_factory=lambda: [[] for _ in range(LAYERS)])
    far_layers: list[list[Thing]] = field(default_factory=lambda: [[] for _ in range(LAYERS)])
    sun: int = 0
    shadow: float = math.inf  # metres from the road's middle, on the sun's side, where shade begins

    def light(self, x: float) -> Light:
        """The light on something small at x metres from the road's middle."""
        return SHADED if self.sun and x * self.sun > self.shadow else SUNLIT


class Plan:
    """A street: its bends, and its blocks on demand."""

    def __init__(self, character: Character) -> None:
        self.character = character
        rng = np.random.default_rng([character.seed, 2])
        waves = [(1, 9.0), (2, 7.0), (5, 2.4)]
        phases = rng.uniform(0, math.tau, len(waves))
        size = rng.uniform(0.2, 1.0)
        length = round(BENDS * LENGTH)
        self._bend = np.array([
            sum(size * a * math.sin(math.tau * n * z / length + p)
                for (n, a), p in zip(waves, phases, strict=True))
            for z in range(length + 1)
        ])  # fmt: skip
        self._blocks: dict[int, Block] = {}

    def bends(self, z: NDArray[np.float64]) -> NDArray[np.float64]:
        """`bend` at many places."""
        at = z % (len(self._bend) - 1)
        low = at.astype(np.intp)
        bends: NDArray[np.float64] = self._bend[low] + (self._bend[low + 1] - self._bend[low]) * (
            at - low
        )
        return bends

    def bend(self, z: float) -> float:
        """Where the middle of the road lies at z, metres."""
        at = z % (len(self._bend) - 1)
        low = int(at)
        return float(self._bend[low] + (self._bend[low + 1] - self._bend[low]) * (at - low))

    def block(self, number: int) -> Block:
        """Block `number`; the last few are kept."""
        if number not in self._blocks:
            if len(self._blocks) >= KEPT:
                self._blocks.pop(next(iter(self._blocks)))
            self._blocks[number] = _Builder(self, number).build()
        return self._blocks[number]

    def stretch(self, number: int, side: int) -> str:
        """What lines one side of a block; runs of three blocks share it, side streets cut in."""
        seed = self.character.seed
        crossing = number % 2 == 1 and np.random.default_rng([seed, 3, number]).random() < 0.14
        if crossing and np.random.default_rng([seed, 4, number, side + 1]).random() < 0.75:
            return "side street"
        run = (number + (side > 0)) // 3
        rng = np.random.default_rng([seed, 5, run, side + 1])
        return str(rng.choice(STRETCHES, p=self.character.weights))


class _Builder:
    """Fills one block; lives as long as that takes."""

    def __init__(self, plan: Plan, number: int) -> None:
        self.plan, self.number = plan, number
        self.character = plan.character
        self.profile = plan.character.profile
        self.rng = np.random.default_rng([plan.character.seed, 6, number])
        self.start = number * LENGTH

    def build(self) -> Block:
        kinds = [self.plan.stretch(self.number, side) for side in (-1, 1)]
        self.block = Block(self._section(kinds), sun=self.character.sun)
        self.roof = 0.0
        for side, kind in zip((-1, 1), kinds, strict=True):
            getattr(self, "_" + kind.replace(" ", "_"))(side)
        for layer in (*self.block.layers, *self.block.far_layers):
            layer.sort(key=lambda thing: -thing.z)
        if self.roof:
            front = self.profile.half_road + self.profile.pavement
            self.block.shadow = front - SHADOW_REACH * self.roof
        for side, kind in zip((-1, 1), kinds, strict=True):
            self._pavement(side, kind)
        return self.block

    def _section(self, kinds: list[str]) -> Section:
        grounds = {
            "park": "grass",
            "college": "grass",
            "yard": "yard",
            "side street": "side street",
        }
        left, right = (grounds.get(kind, "paved") for kind in kinds)
        crossing = "side street" in (left, right)
        odds = (0.5, 0.06, 0.1, 0.12, 0.17, 0.05)
        marking = (
            "stop line"
            if crossing
            else str(
                self.rng.choice(
                    ("dashes", "zigzag", "zebra", "keep clear", "arrows", "stop line"), p=odds
                )
            )
        )
        return Section(self.profile, left, right, marking, int(self.rng.integers(0, 2)))

    # Places: `out` is metres outside the pavement's back edge, `along` metres into the block.

    def _x(self, side: int, out: float, z: float) -> float:
        return side * (self.profile.half_road + self.profile.pavement + out) + self.plan.bend(z)

    def _light(self, side: int, out: float) -> Light:
        return self.block.light(side * (self.profile.half_road + self.profile.pavement + out))

    def _put(self, layer: int, thing: Thing) -> None:
        self._near(layer, thing)
        self.block.far_layers[layer].append(thing)

    def _near(self, layer: int, thing: Thing) -> None:
        """Put a thing that is left out where the block is far away."""
        self.block.layers[layer].append(thing)

    def _along(
        self, side: int, out: float, z0: float, z1: float
    ) -> tuple[tuple[float, float], ...]:
        """The ends of a wall along the street, left end first as seen from the road."""
        ends = (self._x(side, out, z0), z0), (self._x(side, out, z1), z1)
        return ends if side < 0 else ends[::-1]

    def _across(
        self, side: int, out: float, depth: float, z: float
    ) -> tuple[tuple[float, float], ...]:
        ends = (self._x(side, out, z), z), (self._x(side, out + depth, z), z)
        return ends if side > 0 else ends[::-1]

    def _front(self, side: int, texture: Texture, out: float, z0: float, z1: float) -> Wall:
        left, right = self._along(side, out, z0, z1)
        span = texture.width - 0.02
        return Wall(
            left, right, texture, self.character.front_light(side), span, (0, texture.height)
        )

    def _end(self, side: int, out: float, z: float, heights: tuple[float, float]) -> Wall:
        """The blank wall at the near end of a building, 9 m deep, where nothing hides it."""
        left, right = self._across(side, out, 9, z)
        texture = blank_wall(int(self.rng.integers(8)))
        return Wall(left, right, texture, SUNLIT, 9, (heights[0], min(heights[1], texture.height)))

    def _shades(self, side: int, eaves: float) -> None:
        if side == self.character.sun:
            self.roof = max(self.roof, eaves)

    def _building(self, side: int, kind: str, out: float, z0: float, z1: float, layer: int) -> None:
        """A building that stands alone."""
        texture = facade(kind, int(self.rng.integers(VARIANTS)))
        eaves = texture.height - ROOFS[kind]
        self._put(layer, self._front(side, texture, out, z0, z1))
        self._put(layer, self._end(side, out, z0, (0, eaves)))
        self._shades(side, eaves)

    def _row(self, side: int, kind: str, out: float) -> None:
        """Fronts wall to wall along the block, stretched a little to fit; one wall from afar."""
        count = max(1, round(LENGTH / FRONTS[kind]))
        width = LENGTH / count
        same = self.plan.stretch(self.number - 1, side) == self.plan.stretch(self.number, side)
        before, parts = LOWEST[kind] if same else 0.0, []
        for place in range(count):
            z0 = self.start + place * width
            texture = facade(kind, int(self.rng.integers(VARIANTS)))
            eaves = texture.height - ROOFS[kind]
            self._near(BUILDINGS, self._front(side, texture, out, z0, z0 + width))
            if eaves > before:  # else the nearer neighbour hides it
                self._put(BUILDINGS, self._end(side, out, z0, (before, eaves)))
            before = eaves
            parts.append((texture, width))
        whole = joined(parts if side < 0 else parts[::-1], FAR_DENSITIES)
        front = self._front(side, whole, out, self.start, self.start + LENGTH)
        self.block.far_layers[BUILDINGS].append(front)
        self._shades(side, max(texture.height for texture, _ in parts) - ROOFS[kind])

    def _shops(self, side: int) -> None:
        self._row(side, "shop", 0.0)
        for _ in range(int(self.rng.integers(1, 5))):
            z = self.start + float(self.rng.uniform(1, 23))
            plate = sign("shop", int(self.rng.integers(3)))
            self._near(GARDENS, Picture(self._x(side, -0.5, z), z, plate, SUNLIT, 2.9))

    def _terrace(self, side: int) -> None:
        self._row(side, "house", 2.6)
        self._edge(side, self.rng.choice(["wall", "hedge", "fence"], p=(0.4, 0.2, 0.4)), 0.0)
        for _ in range(int(self.rng.integers(1, 4))):
            self._bush(side, float(self.rng.uniform(0.7, 2)))

    def _offices(self, side: int) -> None:
        self._row(side, "office", float(self.rng.choice([0.2, 2.5])))
        if self.rng.random() < 0.4:
            self._tree(side, self._crown(), -0.8, PAVEMENT)

    def _college(self, side: int) -> None:
        self._row(side, "hall", 5.0)
        self._edge(side, self.rng.choice(["fence", "wall"]), 0.0)
        if self.rng.random() < 0.6:
            self._tree(side, self._crown(), 2.5, GARDENS)

    def _park(self, side: int) -> None:
        bare = bool(self.rng.random() < self.character.bare_trees)
        texture = woods(bare, int(self.rng.integers(TREES)))
        left, right = self._along(side, 13.0, self.start, self.start + LENGTH)
        self._put(BACKDROP, Wall(left, right, texture, SUNLIT, LENGTH, (0, texture.height)))
        for _ in range(2):
            self._tree(side, self._crown(0.2), float(self.rng.uniform(2, 9)), GARDENS)
        for _ in range(2):
            self._bush(side, float(self.rng.uniform(1, 8)))
        self._edge(side, self.rng.choice(["fence", "hedge", "none"], p=(0.65, 0.2, 0.15)), 0.1)

    def _yard(self, side: int) -> None:
        z0 = self.start
        for place in range(3):
            z = z0 + 4 + place * 8
            self._building(side, "office", 26, z0 + place * 8, z0 + place * 8 + 8, BACKDROP)
            if self.rng.random() < 0.7:
                self._parked(side, 5.5, z, 90.0 * side, GARDENS)
            if self.rng.random() < 0.7:
                self._parked(side, 11.0, z, 90.0, BUILDINGS)
        self._edge(side, self.rng.choice(["fence", "wall", "hedge"], p=(0.5, 0.25, 0.25)), 0.2)
        self._tree(side, self._crown(), 1.2, GARDENS)

    def _side_street(self, side: int) -> None:
        z0, middle = self.start, self.start + LENGTH / 2
        kind = str(self.rng.choice(["shop", "house", "office"]))
        self._building(side, kind, 0.3, z0, middle - 6.2, BUILDINGS)
        self._building(side, kind, 0.3, middle + 6.2, z0 + LENGTH, BUILDINGS)
        left, right = self._across(side, 0.3, 22, middle + 6.2)
        texture = facade(kind, int(self.rng.integers(VARIANTS)))
        span = round(22 / texture.width) * texture.width
        self._put(BUILDINGS, Wall(left, right, texture, SUNLIT, span, (0, texture.height)))
        self._building(side, "house", 34, middle - 9, middle + 9, BACKDROP)
        self._pole(side, -0.7, middle - 5.6, 3.0)
        z = middle - 5.6
        plate = sign("lights", int(self.rng.integers(3)))
        self._put(PAVEMENT, Picture(self._x(side, -0.7, z), z - 0.1, plate, SUNLIT, 2.2))

    def _edge(self, side: int, kind: object, out: float) -> None:
        """A fence, wall or hedge along the back of the pavement."""
        if kind == "none":
            return
        variant = int(self.rng.integers(3))
        texture = {
            "wall": lambda: garden_wall(variant),
            "hedge": lambda: hedge(variant),
            "fence": lambda: fence(FENCES[int(self.rng.integers(len(FENCES)))], variant),
        }[str(kind)]()
        left, right = self._along(side, out, self.start, self.start + LENGTH)
        light = self.character.front_light(side)
        self._put(EDGE, Wall(left, right, texture, light, LENGTH, (0, texture.height)))

    def _tree(self, side: int, kind: str, out: float, layer: int) -> None:
        z = self.start + float(self.rng.uniform(0, LENGTH))
        texture = tree(kind, int(self.rng.integers(TREES)))
        self._put(layer, Picture(self._x(side, out, z), z, texture, self._light(side, out)))

    def _bush(self, side: int, out: float) -> None:
        z = self.start + float(self.rng.uniform(0, LENGTH))
        texture = tree("bush", int(self.rng.integers(TREES)))
        self._near(GARDENS, Picture(self._x(side, out, z), z, texture, self._light(side, out)))

    def _crown(self, evergreen: float = 0.0) -> str:
        if self.rng.random() < evergreen:
            return "conifer"
        return "bare" if self.rng.random() < self.character.bare_trees else "leafy"

    def _parked(self, side: int, out: float, z: float, heading: float, layer: int) -> None:
        kind, paint = self.character.fleet[int(self.rng.integers(len(self.character.fleet)))]
        kind = "van" if kind == "bus" else kind
        thing = Vehicle(self._x(side, out, z), z, kind, paint, heading, self._light(side, out))
        self._put(layer, thing)

    def _pole(self, side: int, out: float, z: float, top: float, width: float = 0.11) -> None:
        self._put(PAVEMENT, Post(self._x(side, out, z), z, width, 0.0, top, GREY))

    def _pavement(self, side: int, kind: str) -> None:
        """Lamp posts, signs, bollards, street trees and parked cars."""
        kerb = 0.45 - self.profile.pavement
        if kind != "side street":
            self._lamp(side, kerb, self.start + (6 if side < 0 else 18))
        for place in range(2):
            if self.rng.random() < 0.6:
                z = self.start + 12 * place + float(self.rng.uniform(1, 11))
                self._signpost(side, kerb + 0.1, z)
        if self.rng.random() < 0.2:
            for step in range(4):
                z = self.start + 14.5 + step * 2
                post = Post(self._x(side, kerb - 0.1, z), z, 0.15, 0.0, 0.95, DARK)
                self._near(PAVEMENT, post)
        if self.rng.random() < 0.3 and kind != "side street":
            self._tree(side, self._crown(), kerb + 0.5, PAVEMENT)
        if kind == "side street" or self.block.section.marking in ("zebra", "zigzag"):
            return
        for place in range(4):
            if self.profile.half_road > 5 and self.rng.random() < self.character.parking * 0.8:
                z = self.start + 3 + place * 6 + float(self.rng.uniform(-0.4, 0.4))
                heading = 0.0 if side < 0 else 180.0
                self._parked(side, -self.profile.pavement - 1.05, z, heading, KERB)

    def _lamp(self, side: int, out: float, z: float) -> None:
        tall = 7.5
        self._pole(side, out, z, tall, 0.14)
        head = lantern(side)
        x = self._x(side, out, z) - side * head.width / 2
        self._put(PAVEMENT, Picture(x, z, head, SUNLIT, tall - 0.15))

    def _signpost(self, side: int, out: float, z: float) -> None:
        kind = str(self.rng.choice([name for name in SIGNS if name not in ("shop", "lights")]))
        plate = sign(kind, int(self.rng.integers(3)))
        self._pole(side, out, z, 2.3 + plate.height * 0.8, 0.07)
        self._near(PAVEMENT, Picture(self._x(side, out, z), z - 0.05, plate, SUNLIT, 2.2))
