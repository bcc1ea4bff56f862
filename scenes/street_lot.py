"""A block of a street and a lot, one side of it: where things are put."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from scenes.street_character import Bends, Character
from scenes.street_light import SHADED, SUNLIT, Light
from scenes.street_paving import LENGTH, Section
from scenes.street_things import Thing

# Only things in a nearer layer can hide those in a farther one: rays diverge from the road.
BACKDROP, BUILDINGS, GARDENS, EDGE, PAVEMENT, KERB, ROAD = range(6, -1, -1)
LAYERS = 7
SHADOW_REACH = 0.75  # metres of shadow across the street for a metre of front

OptionT = TypeVar("OptionT")
Place = tuple[float, float]  # x and z in metres of the street


@dataclass
class Block:
    """One block's ground and its things, layer by layer, as seen from near and from afar."""

    section: Section
    sun: int  # -1 left, 1 right, 0 none
    layers: list[list[Thing]] = field(default_factory=lambda: [[] for _ in range(LAYERS)])
    far_layers: list[list[Thing]] = field(default_factory=lambda: [[] for _ in range(LAYERS)])
    shadow: float = math.inf  # metres from the road's middle, on the sun's side, where shade begins

    def light(self, x: float) -> Light:
        """The light on something small at x metres from the road's middle."""
        return SHADED if self.sun and x * self.sun > self.shadow else SUNLIT


class Lot:
    """One side of a block; lives while it is filled.

    `out` is in metres outside the back edge of the pavement, negative on the pavement and the road;
    z is in metres of the street.
    """

    def __init__(
        self, character: Character, bends: Bends, block: Block, number: int, side: int
    ) -> None:
        self.character, self.bends, self.block = character, bends, block
        self.number, self.side = number, side
        self.start, self.end = number * LENGTH, (number + 1) * LENGTH
        self.kind = character.stretch(number, side)
        self.rng = np.random.default_rng([character.seed, 6, number, side + 1])

    def x(self, out: float, z: float) -> float:
        """Across the street, the bend included."""
        return self._from_middle(out) + self.bends.at(z)

    def light(self, out: float) -> Light:
        """The light on something small."""
        return self.block.light(self._from_middle(out))

    def along(self, out: float, z0: float, z1: float) -> tuple[Place, Place]:
        """The ends of a wall along the street, the left one first as seen from the road."""
        near, far = (self.x(out, z0), z0), (self.x(out, z1), z1)
        return (near, far) if self.side < 0 else (far, near)

    def across(self, out: float, depth: float, z: float) -> tuple[Place, Place]:
        """The ends of a wall square to the street, the left one first."""
        inner, outer = (self.x(out, z), z), (self.x(out + depth, z), z)
        return (inner, outer) if self.side > 0 else (outer, inner)

    def put(self, layer: int, thing: Thing) -> None:
        """Place a thing."""
        self.put_near(layer, thing)
        self.put_far(layer, thing)

    def put_near(self, layer: int, thing: Thing) -> None:
        """Place a thing that something else stands for where the block is far away."""
        self.block.layers[layer].append(thing)

    def put_far(self, layer: int, thing: Thing) -> None:
        """Place a thing that stands for others where the block is far away."""
        self.block.far_layers[layer].append(thing)

    def cast_shadow(self, out: float, eaves: float) -> None:
        """Shade the street in front of a building, if the sun stands behind it."""
        if self.side == self.character.sun:
            edge = abs(self._from_middle(out)) - SHADOW_REACH * eaves
            self.block.shadow = min(self.block.shadow, edge)

    def pick(self, options: Sequence[OptionT], odds: Sequence[float] | None = None) -> OptionT:
        """One of some options."""
        return options[int(self.rng.choice(len(options), p=odds))]

    def number_below(self, count: int) -> int:
        """A whole number from 0."""
        return int(self.rng.integers(count))

    def between(self, low: float, high: float) -> float:
        """Any number from a range."""
        return float(self.rng.uniform(low, high))

    def chance(self, share: float) -> bool:
        """Whether something happens that happens in a share of all cases."""
        return bool(self.rng.random() < share)

    def _from_middle(self, out: float) -> float:
        profile = self.character.profile
        return self.side * (profile.half_road + profile.pavement + out)
