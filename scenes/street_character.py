"""What all of a street shares, drawn from its seed: its profile, weather, traffic, bends."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scenes.street_light import SHADED, SUNLIT, Light
from scenes.street_paving import LENGTH, Profile
from scenes.street_sky import WEATHERS

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
# What lines a street, and how often in the mean of many streets, which brings the classes close to
# their shares in CamVid.
STRETCHES = ("shops", "terrace", "offices", "college", "park", "yard")
COMMON = (2.4, 1.8, 0.7, 0.9, 3.2, 1.0)
RUN = 3  # blocks in a stretch
BENDS = 64  # blocks after which the bends repeat


@dataclass(frozen=True)
class Character:
    """What all of a street shares."""

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
        """The character that belongs to a seed."""
        rng = np.random.default_rng([seed, 1])
        weather = str(rng.choice(sorted(WEATHERS)))
        return Character(
            seed=seed,
            profile=Profile(
                half_road=float(rng.choice([3.6, 4.4, 5.4])),
                pavement=float(rng.choice([2.6, 3.4, 4.4])),
                yellow_lines=bool(rng.random() < 0.5),
                slabs=bool(rng.random() < 0.6),
            ),
            weather=weather,
            sun=int(rng.choice([-1, 1])) if weather in ("clear", "broken") else 0,
            bare_trees=float(rng.choice([0.9, 0.5, 0.15])),
            fleet=tuple(FLEET[place] for place in rng.permutation(len(FLEET))[:9].tolist()),
            parking=float(rng.uniform(0.05, 0.4)),
            traffic=float(rng.uniform(0.35, 0.8)),
            walkers=float(rng.uniform(0.5, 1.2)),
            weights=tuple(rng.dirichlet(COMMON).tolist()),
        )

    def front_light(self, side: int) -> Light:
        """The light on fronts of the left (-1) or right (1) side: the sun stands behind one."""
        return SHADED if side == self.sun else SUNLIT

    def stretch(self, number: int, side: int) -> str:
        """What lines one side of a block; side streets cut into the stretches."""
        crossing = number % 2 == 1 and self._rng(3, number).random() < 0.14
        if crossing and self._rng(4, number, side + 1).random() < 0.75:
            return "side street"
        run = (number + (side > 0)) // RUN
        return str(self._rng(5, run, side + 1).choice(STRETCHES, p=self.weights))

    def _rng(self, *key: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, *key])


class Bends:
    """Where the middle of the road lies along the street, in metres: a sum of three waves."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng([seed, 2])
        length = round(BENDS * LENGTH)
        size = float(rng.uniform(0.2, 1.0))
        turns = [math.tau * z / length for z in range(length + 1)]
        self._table = np.zeros(length + 1)
        for waves, reach in ((1, 9.0), (2, 7.0), (5, 2.4)):
            phase = float(rng.uniform(0, math.tau))
            self._table += [size * reach * math.sin(waves * turn + phase) for turn in turns]

    def at(self, z: float) -> float:
        """The road's middle at z."""
        place = z % (len(self._table) - 1)
        low = int(place)
        here, ahead = float(self._table[low]), float(self._table[low + 1])
        return here + (ahead - here) * (place - low)

    def along(self, z: NDArray[np.float64]) -> NDArray[np.float64]:
        """The road's middle at many places."""
        place = z % (len(self._table) - 1)
        return np.interp(place, np.arange(len(self._table)), self._table)
