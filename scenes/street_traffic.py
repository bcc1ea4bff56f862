"""What moves: oncoming and leading traffic, cyclists, people on the pavements.

Positions are closed formulas of the time, so any moment can be asked for directly.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from scenes.street_lot import KERB, PAVEMENT, ROAD
from scenes.street_paving import LENGTH
from scenes.street_plan import Plan
from scenes.street_things import FAR, Person, Thing, Vehicle, Viewpoint

DRIVEN = 1.75  # metres from the road's middle to where cars drive
LEADER_PERIOD = 34.0  # seconds from one car ahead to the next
PEOPLE_FAR = 50.0  # metres: farther walkers are a pixel or two wide


@dataclass(frozen=True)
class Lane:
    """A line of moving things: metres from the road's middle, metres per second, metres apart."""

    number: int
    x: float
    speed: float
    spacing: float
    share: float
    kind: str
    layer: int


def movers(plan: Plan, view: Viewpoint) -> dict[tuple[int, int], list[Thing]]:
    """Everything in motion and in view, by (block, layer)."""
    result: dict[tuple[int, int], list[Thing]] = {}
    for lane in _lanes(plan):
        for thing in _members(plan, lane, view):
            result.setdefault((int(thing.z // LENGTH), lane.layer), []).append(thing)
    for car in _leaders(plan, view):
        result.setdefault((int(car.z // LENGTH), ROAD), []).append(car)
    return result


def _lanes(plan: Plan) -> list[Lane]:
    character, profile = plan.character, plan.character.profile
    half, walk = profile.half_road, profile.half_road + profile.pavement * 0.55
    people = character.walkers
    return [
        Lane(0, DRIVEN, -9.0, 26.0, character.traffic, "vehicle", ROAD),
        Lane(1, -walk, 1.3, 9.0, people * 0.5, "walker", PAVEMENT),
        Lane(2, -walk - 0.5, -1.25, 11.0, people * 0.5, "walker", PAVEMENT),
        Lane(3, walk, 1.35, 9.5, people * 0.5, "walker", PAVEMENT),
        Lane(4, walk + 0.4, -1.2, 10.0, people * 0.5, "walker", PAVEMENT),
        Lane(5, -half + 0.75, 4.2, 38.0, 0.75, "cyclist", KERB),
        Lane(6, half - 0.8, -4.6, 42.0, 0.75, "cyclist", KERB),
    ]


def _members(plan: Plan, lane: Lane, view: Viewpoint) -> Iterator[Thing]:
    moved = lane.speed * view.seconds
    reach = FAR - 10 if lane.kind == "vehicle" else PEOPLE_FAR
    first = math.ceil((view.travelled - moved) / lane.spacing) - 1
    last = math.floor((view.travelled + reach - moved) / lane.spacing)
    for number in range(first, last + 1):
        present, jitter, sideways, look = _dice(plan.character.seed, lane.number, number)
        z = (number + jitter * 0.7) * lane.spacing + moved
        if present > lane.share or z < view.travelled:
            continue
        out = lane.x + (sideways - 0.5) * (0.7 if lane.kind == "walker" else 0.3)
        x, light = out + plan.bends.at(z), plan.block(int(z // LENGTH)).light(out)
        if lane.kind == "vehicle":
            kind, paint = plan.character.fleet[look % len(plan.character.fleet)]
            yield Vehicle(x, z, kind, paint, 180.0 if lane.speed < 0 else 0.0, light)
        else:
            yield Person(x, z, look % 10, lane.kind == "cyclist", light)


def _leaders(plan: Plan, view: Viewpoint) -> Iterator[Vehicle]:
    """Cars ahead in the camera's lane: they come closer, then draw away, and others follow."""
    turn = view.seconds / LEADER_PERIOD + 0.4
    number = math.floor(turn)
    phase = turn - number
    gap = 12.5 + 95 * abs(2 * phase - 1) ** 2.2
    present, jitter, _, look = _dice(plan.character.seed, 90, number)
    if present > plan.character.traffic:
        return
    for place in range(2 + look % 2):
        z = view.travelled + gap + place * (11 + 6 * jitter)
        if z < view.travelled + FAR:
            kind, paint = plan.character.fleet[(look + place * 3) % len(plan.character.fleet)]
            light = plan.block(int(z // LENGTH)).light(-DRIVEN)
            yield Vehicle(plan.bends.at(z) - DRIVEN, z, kind, paint, 0.0, light)


@lru_cache(maxsize=4096)
def _dice(seed: int, lane: int, number: int) -> tuple[float, float, float, int]:
    """Three shares of 1 and a whole number, the same for the same place in the same lane."""
    rng = np.random.default_rng([seed, 50 + lane, number & 0xFFFFFFFF])
    return float(rng.random()), float(rng.random()), float(rng.random()), int(rng.integers(1 << 20))
