"""Things that stand along a street, each with how it is drawn; x and z in metres of the street.

A thing's x is absolute: the bend of the street at its place is already in it. A `Viewpoint` turns
it into camera coordinates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scenes.street_bodies import BODIES
from scenes.street_canvas import NEAR, Canvas
from scenes.street_light import Light
from scenes.street_people import POSES, cyclist, pedestrian
from scenes.street_texture import Texture
from scenes.street_vehicles import STEP, vehicle

FAR = 120.0  # metres: beyond, the far band of the sky stands for everything
SMALLEST = 5  # pixels: a picture narrower than this is not drawn


@dataclass(frozen=True)
class Viewpoint:
    """Where the camera is: metres travelled, across from x = 0, and its slope dx/dz."""

    travelled: float
    across: float
    slope: float
    seconds: float

    def seen(self, x: float, z: float) -> tuple[float, float]:
        """Camera coordinates of a point of the street."""
        ahead = z - self.travelled
        return x - self.across - self.slope * ahead, ahead


@dataclass(frozen=True)
class Wall:
    """An upright wall between two points, `left` being the left end seen from its front."""

    left: tuple[float, float]
    right: tuple[float, float]
    texture: Texture
    light: Light
    span: float  # metres of texture along it
    heights: tuple[float, float]  # where it begins and ends above the ground

    @property
    def z(self) -> float:
        return min(self.left[1], self.right[1])

    def draw(self, canvas: Canvas, view: Viewpoint) -> None:
        left, right = view.seen(*self.left), view.seen(*self.right)
        light = _hazy(self.light, (left[1] + right[1]) / 2)
        canvas.wall(left, right, self.texture, light, self.span, self.heights)


@dataclass(frozen=True)
class Picture:
    """Something flat that faces the camera: a tree, a sign's plate."""

    x: float
    z: float
    texture: Texture
    light: Light
    bottom: float = 0.0

    def draw(self, canvas: Canvas, view: Viewpoint) -> None:
        x, ahead = view.seen(self.x, self.z)
        if ahead > NEAR and self.texture.width * canvas.focal > SMALLEST * ahead:
            canvas.picture(x, ahead, self.texture, _hazy(self.light, ahead), self.bottom)


@dataclass(frozen=True)
class Post:
    """An upright post."""

    x: float
    z: float
    width: float
    bottom: float
    top: float
    texel: int

    def draw(self, canvas: Canvas, view: Viewpoint) -> None:
        x, ahead = view.seen(self.x, self.z)
        canvas.post(x, ahead, self.width, self.bottom, self.top, self.texel)


@dataclass(frozen=True)
class Vehicle:
    """A vehicle; `heading` 0 drives with the camera, 180 towards it (degrees, clockwise)."""

    x: float
    z: float
    kind: str
    paint: int
    heading: float
    light: Light

    def draw(self, canvas: Canvas, view: Viewpoint) -> None:
        x, ahead = view.seen(self.x, self.z)
        if ahead < 3.2:  # its nose would be behind the lens
            return
        angle = (self.heading - math.degrees(math.atan2(x, ahead)) + 180) % 360 - 180
        texture, foot = vehicle(self.kind, self.paint, round(abs(angle) / STEP))
        body = BODIES[self.kind]
        _shadow(canvas, x, ahead, body.width * 1.08, body.length)
        canvas.picture(x, ahead, texture, _hazy(self.light, ahead), foot, mirrored=angle < 0)


@dataclass(frozen=True)
class Person:
    """A pedestrian or cyclist in motion."""

    x: float
    z: float
    look: int
    rides: bool
    light: Light

    def draw(self, canvas: Canvas, view: Viewpoint) -> None:
        x, ahead = view.seen(self.x, self.z)
        if ahead < 2:
            return
        pose = int(view.seconds * (7 if self.rides else 9) + self.look) % POSES
        texture = (cyclist if self.rides else pedestrian)(self.look, pose)
        _shadow(canvas, x, ahead, 0.6, 0.5)
        canvas.picture(x, ahead, texture, _hazy(self.light, ahead))


Thing = Wall | Picture | Post | Vehicle | Person


def _hazy(light: Light, ahead: float) -> Light:
    """Distance takes contrast, an eighth at a time."""
    haze = 0 if ahead < 45 else 1 if ahead < 75 else 2 if ahead < 105 else 3
    return Light(light.shaded, haze) if haze else light


def _shadow(canvas: Canvas, x: float, ahead: float, width: float, length: float) -> None:
    """The dark patch under something that stands on the ground."""
    if width * canvas.focal > 20 * ahead:
        canvas.darken(x, max(NEAR + 1, ahead - length / 2), ahead + length / 2, width)
