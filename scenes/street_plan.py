"""A street's blocks on demand.

A block is one section of ground long. What it holds depends on the seed and its number alone, so
that any frame can be drawn without the ones before it.
"""

from __future__ import annotations

import numpy as np

from scenes.street_character import Bends, Character
from scenes.street_frontages import FRONTAGES, GROUNDS
from scenes.street_kerbside import furnish
from scenes.street_lot import Block, Lot
from scenes.street_paving import MARKINGS, Section

KEPT = 7  # blocks, one more than are ever in view; up to 1 MB each
MARKING_ODDS = (0.5, 0.06, 0.1, 0.12, 0.17, 0.05)


class Plan:
    """A street: its character, its bends and its blocks; keeps the blocks made last."""

    def __init__(self, seed: int) -> None:
        self.character = Character.of(seed)
        self.bends = Bends(seed)
        self._blocks: dict[int, Block] = {}

    def block(self, number: int) -> Block:
        """Block `number`, which reaches from number * LENGTH to the next."""
        if number not in self._blocks:
            if len(self._blocks) >= KEPT:
                self._blocks.pop(next(iter(self._blocks)))
            self._blocks[number] = self._build(number)
        return self._blocks[number]

    def _build(self, number: int) -> Block:
        block = Block(self._section(number), self.character.sun)
        lots = [Lot(self.character, self.bends, block, number, side) for side in (-1, 1)]
        for lot in lots:
            FRONTAGES[lot.kind](lot)
        for lot in lots:  # after all fronts: their shadows fall on what stands here
            furnish(lot)
        for layer in (*block.layers, *block.far_layers):
            layer.sort(key=lambda thing: -thing.z)
        return block

    def _section(self, number: int) -> Section:
        """The ground of a block; a side street brings its stop line."""
        rng = np.random.default_rng([self.character.seed, 7, number])
        kinds = [self.character.stretch(number, side) for side in (-1, 1)]
        left, right = (GROUNDS.get(kind, "paved") for kind in kinds)
        marking = MARKINGS[int(rng.choice(len(MARKINGS), p=MARKING_ODDS))]
        if "side street" in kinds:
            marking = "stop line"
        return Section(self.character.profile, left, right, marking, int(rng.integers(2)))
