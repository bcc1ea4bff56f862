"""The bodies of cars, vans and buses as painted faces in space.

A body is a side profile pulled across its width, narrower towards the roof.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from scenes.dataset import Colour

Solid = tuple[float, float, float]  # x to the right, y up, z along the vehicle; metres
Face = tuple[Sequence[Solid], Colour]  # an outline that turns clockwise as seen from outside

PAINTS: tuple[Colour, ...] = (
    (28, 30, 34),
    (150, 154, 158),
    (64, 68, 74),
    (206, 206, 202),
    (110, 20, 26),
    (24, 40, 84),
    (20, 58, 48),
    (70, 92, 120),
    (120, 116, 104),
    (172, 28, 30),
)
GLASS: Colour = (44, 52, 60)
TYRE: Colour = (20, 20, 22)


@dataclass(frozen=True)
class Body:
    """A kind of vehicle. `profile` runs from the rear bumper over the roof to the front, (z, y).

    `rear_glass` and `front_glass` number the profile's edges that are windows; `belt` is the
    height where the cabin begins to lean inwards.
    """

    length: float
    width: float
    profile: tuple[tuple[float, float], ...]
    rear_glass: int
    front_glass: int
    belt: float
    lean: float  # half-width lost at the roof, as a share
    wheel: float
    windows: tuple[tuple[float, float], ...]  # side windows, from z to z


BODIES: dict[str, Body] = {
    "hatchback": Body(
        3.9, 1.68,
        ((0, 0.3), (0, 0.62), (0.12, 0.95), (0.55, 1.42), (2.1, 1.46), (2.95, 1.0), (3.75, 0.86),
         (3.9, 0.6), (3.88, 0.3)),
        2, 4, 0.97, 0.2, 0.30, ((0.5, 1.25), (1.32, 2.62)),
    ),
    "saloon": Body(
        4.6, 1.76,
        ((0, 0.3), (0, 0.65), (0.06, 0.98), (0.85, 1.02), (1.45, 1.42), (2.6, 1.44), (3.4, 0.98),
         (4.45, 0.82), (4.6, 0.58), (4.58, 0.3)),
        3, 5, 0.98, 0.22, 0.31, ((1.2, 1.95), (2.03, 3.05)),
    ),
    "estate": Body(
        4.6, 1.76,
        ((0, 0.3), (0, 0.65), (0.06, 1.0), (0.4, 1.46), (2.6, 1.48), (3.4, 1.0), (4.45, 0.84),
         (4.6, 0.58), (4.58, 0.3)),
        2, 4, 0.99, 0.2, 0.31, ((0.45, 1.2), (1.28, 2.05), (2.12, 3.1)),
    ),
    "off-roader": Body(
        4.5, 1.84,
        ((0, 0.42), (0, 0.75), (0.03, 1.1), (0.2, 1.74), (2.7, 1.78), (3.3, 1.16), (4.35, 1.06),
         (4.5, 0.75), (4.48, 0.4)),
        2, 4, 1.13, 0.14, 0.37, ((0.3, 1.05), (1.15, 2.0), (2.08, 3.0)),
    ),
    "van": Body(
        4.9, 1.9,
        ((0, 0.35), (0, 0.8), (0.02, 1.2), (0.08, 1.95), (3.5, 2.0), (4.3, 1.2), (4.8, 1.05),
         (4.9, 0.6), (4.88, 0.3)),
        2, 4, 1.2, 0.1, 0.33, ((3.05, 3.95),),
    ),
    "bus": Body(
        9.5, 2.45,
        ((0, 0.35), (0, 1.0), (0.02, 1.5), (0.1, 3.0), (9.3, 3.0), (9.45, 1.3), (9.5, 1.1),
         (9.5, 0.6), (9.48, 0.3)),
        2, 4, 1.5, 0.04, 0.46, ((0.4, 2.1), (2.2, 3.9), (4.0, 5.7), (5.8, 7.5), (7.6, 9.1)),
    ),
}  # fmt: skip


def faces_of(body: Body, paint: Colour) -> list[Face]:
    """All faces in an order that paints right: far ones are culled, the rest lie outwards."""
    profile, result = body.profile, _mirrors(body, paint)
    for z in (0.19 * body.length, 0.81 * body.length):  # wheels first: the body covers their tops
        for side in (-1.0, 1.0):
            result += _wheel(body, z, side)
    for side in (-1.0, 1.0):
        result += _side(body, paint, side)
    for number, (start, end) in enumerate(pairwise(profile)):
        quad = _across(body, start, end, 1.0)
        result.append((quad, _shade(paint, start, end)))
        if number in (body.rear_glass, body.front_glass):
            inset = _across(body, _mix(start, end, 0.1), _mix(start, end, 0.92), 0.9)
            result.append((inset, GLASS))
            sky = _across(body, _mix(start, end, 0.55), _mix(start, end, 0.92), 0.9)
            result.append((sky, (92, 104, 114)))
    for front in (False, True):
        result += _end(body, paint, front)
    return result


def _side(body: Body, paint: Colour, side: float) -> list[Face]:
    """The flank below the belt, the cabin above it, its windows, sill and wheel arches."""
    parts: list[tuple[list[tuple[float, float]], Colour]] = [
        (list(body.profile), _scaled(paint, 0.88)),
        ([(0.0, 0.3), (0.0, 0.42), (body.length, 0.42), (body.length, 0.3)], (36, 36, 38)),
    ]
    for z in {z for window in body.windows for z in window}:
        seam = [(z, 0.42), (z, body.belt), (z + 0.025, body.belt), (z + 0.025, 0.42)]
        parts.append((seam, _scaled(paint, 0.55)))
    roof = max(y for _, y in body.profile)
    low, high = body.belt + 0.03, roof - 0.1
    slope = (high - low) * 0.45
    for number, (z0, z1) in enumerate(body.windows):
        tip0 = slope if number == 0 and body.rear_glass == 3 else 0.08
        tip1 = slope if number == len(body.windows) - 1 else 0.02
        parts.append(([(z0, low), (z0 + tip0, high), (z1 - tip1, high), (z1, low)], GLASS))
        middle = high - 0.3 * (high - low)
        shine = [(z0 + tip0 * 0.7, middle), (z0 + tip0, high), (z1 - tip1, high), (z1, middle)]
        parts.append((shine, (74, 84, 94)))
        handle = [(z0 + 0.1, low - 0.16), (z0 + 0.1, low - 0.12), (z0 + 0.28, low - 0.12)]
        parts.append(([*handle, (z0 + 0.28, low - 0.16)], _scaled(paint, 0.6)))
    result: list[Face] = [
        (_oriented([_point(body, z, y, side) for z, y in points], side), colour)
        for points, colour in parts
    ]
    for z in (0.19 * body.length, 0.81 * body.length):
        result.append((_disc(body, z, body.wheel * 1.18, side, 1.0), (22, 22, 24)))
        result.append((_disc(body, z, body.wheel, side, 1.01), TYRE))
        result.append((_disc(body, z, body.wheel * 0.62, side, 1.02), (132, 134, 138)))
        result.append((_disc(body, z, body.wheel * 0.2, side, 1.03), (60, 60, 62)))
    return result


def _end(body: Body, paint: Colour, front: bool) -> list[Face]:
    """Lamps, number plate, bumper and the like, on the rear or the front."""
    z = body.length + 0.01 if front else -0.01
    half, top = body.width / 2, min(body.belt - 0.12, 0.95)
    parts: list[tuple[float, float, float, float, Colour]] = [
        (-half, half, 0.3, 0.44, (44, 44, 46)),
        (-half, half, 0.44, 0.54, _scaled(paint, 0.72)),
        (-half * 0.8, half * 0.8, 0.2, 0.3, (14, 14, 15)),
    ]
    if front:
        parts += [
            (-half * 0.58, half * 0.58, top - 0.2, top - 0.04, (24, 24, 26)),
            (-half * 0.5, half * 0.5, top - 0.13, top - 0.11, (120, 122, 124)),
            (-0.06, 0.06, top - 0.16, top - 0.06, (150, 152, 154)),
        ]
    else:
        parts += [
            (-half * 0.94, half * 0.94, 0.62, 0.635, _scaled(paint, 0.5)),
            (-0.05, 0.05, top - 0.1, top - 0.04, (168, 170, 172)),
            (half * 0.45, half * 0.55, 0.22, 0.28, (96, 96, 98)),
        ]
    plate: Colour = (222, 222, 216) if front else (196, 168, 46)
    parts.append((-0.26, 0.26, 0.5, 0.61, plate))
    parts += [(x, x + 0.04, 0.525, 0.585, (30, 30, 30)) for x in (-0.2, -0.13, -0.06, 0.06, 0.13)]
    for side in (-1.0, 1.0):
        inner, outer = sorted((side * half * 0.66, side * half * 0.96))
        if front:
            parts.append((inner, outer, top - 0.21, top - 0.01, (150, 154, 158)))
            parts.append((inner + 0.03, outer - 0.03, top - 0.18, top - 0.04, (240, 240, 232)))
        else:
            parts.append((inner, outer, top - 0.24, top, (140, 18, 18)))
            parts.append((inner, outer, top - 0.1, top - 0.05, (206, 120, 30)))
            parts.append((inner + 0.02, outer - 0.02, top - 0.22, top - 0.13, (176, 26, 24)))
    return [_plate(x0, x1, y0, y1, z, front, colour) for x0, x1, y0, y1, colour in parts]


def _plate(
    x0: float, x1: float, y0: float, y1: float, z: float, front: bool, colour: Colour
) -> Face:
    points = [(x0, y0, z), (x0, y1, z), (x1, y1, z), (x1, y0, z)]
    return (points[::-1] if front else points), colour


def _mirrors(body: Body, paint: Colour) -> list[Face]:
    """Wing mirrors: seen from the front as shells, from behind as glass."""
    z, y = body.windows[-1][1] - 0.1, body.belt + 0.02
    result = []
    for side in (-1.0, 1.0):
        x0, x1 = sorted((side * (body.width / 2 - 0.02), side * (body.width / 2 + 0.17)))
        result.append(_plate(x0, x1, y, y + 0.14, z, True, _scaled(paint, 0.9)))
        result.append(_plate(x0, x1, y, y + 0.14, z, False, (60, 66, 72)))
    return result


def _wheel(body: Body, z: float, side: float) -> list[Face]:
    """The tread as a dark block inside the flank, so that tyres show from the ends too."""
    x1 = side * body.width / 2
    x0 = x1 - side * 0.2
    r = body.wheel
    result: list[Face] = []
    for facing, at in ((-1.0, z - r * 0.7), (1.0, z + r * 0.7)):
        left, right = (min(x0, x1), max(x0, x1))
        points = [(left, 0.0, at), (left, r, at), (right, r, at), (right, 0.0, at)]
        result.append((points if facing < 0 else points[::-1], TYRE))
    return result


def _disc(body: Body, z: float, r: float, side: float, out: float) -> list[Solid]:
    turns = [math.tau * k / 18 for k in range(18)]
    x = side * body.width / 2 * out
    points = [(x, body.wheel + r * math.sin(t), z + r * math.cos(t)) for t in turns]
    return points if side < 0 else points[::-1]


def _point(body: Body, z: float, y: float, side: float) -> Solid:
    return side * _half(body, y), y, z


def _half(body: Body, y: float) -> float:
    """Half the width at a height: full up to the belt, leaning in above it."""
    roof = max(y for _, y in body.profile)
    above = max(0.0, y - body.belt) / (roof - body.belt)
    return body.width / 2 * (1 - body.lean * above)


def _across(
    body: Body, start: tuple[float, float], end: tuple[float, float], share: float
) -> list[Solid]:
    (z0, y0), (z1, y1) = start, end
    a, b = _half(body, y0) * share, _half(body, y1) * share
    return [(-a, y0, z0), (-b, y1, z1), (b, y1, z1), (a, y0, z0)]


def _oriented(points: list[Solid], side: float) -> list[Solid]:
    """Wind a flank's outline so that it faces outwards."""
    return points if side > 0 else points[::-1]


def _mix(start: tuple[float, float], end: tuple[float, float], at: float) -> tuple[float, float]:
    return start[0] + (end[0] - start[0]) * at, start[1] + (end[1] - start[1]) * at


def _shade(paint: Colour, start: tuple[float, float], end: tuple[float, float]) -> Colour:
    """Brighter the more the edge looks up."""
    run, rise = end[0] - start[0], end[1] - start[1]
    up = run / math.hypot(run, rise)
    return _scaled(paint, 0.92 + 0.45 * max(0.0, up))


def _scaled(colour: Colour, by: float) -> Colour:
    r, g, b = (min(255, round(c * by + 10 * max(0.0, by - 1))) for c in colour)
    return r, g, b
