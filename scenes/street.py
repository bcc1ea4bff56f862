"""A street seen from a moving car, drawn with its labels: no camera, no data set needed.

Everything follows from the seed: the same seed, index and size give the same bytes, in any order
and process. Labels are also the same for other versions of Python, NumPy and Pillow; a few colours
may differ by a few levels, since Pillow shrinks the pictures.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator

import numpy as np

from scenes.camvid import CLASSES, PALETTE
from scenes.dataset import DatasetError, Scene
from scenes.street_canvas import Canvas
from scenes.street_ground import Ground, Shade
from scenes.street_optics import Exposure, Optics, labels_of
from scenes.street_paving import LENGTH
from scenes.street_plan import Plan
from scenes.street_sky import Sky
from scenes.street_things import FAR, Viewpoint
from scenes.street_traffic import DRIVEN, movers

FRAME_RATE = 30  # frames per second of the camera
SPEED = 8.3  # metres per second: 30 km/h
START = 30.0  # metres: blocks before the first one in view exist, so that it has a neighbour
DEFAULT_SIZE = (360, 480)
SMALLEST, LARGEST = 32, 4096  # pixels
DIGITS = 9  # of a seed or a number of frames
NEAR_BLOCKS = 2  # drawn front by front; beyond, a row of fronts is one wall
STREETS = 12  # different streets in a split, taken in turn
STRIDE = 97  # frames of the camera between two visits to a street: 27 m
FRAMES = {"train": 400}  # by split; any other has
OTHER_FRAMES = 100
OPTIONS = ("seed", "frames", "size")


class StreetCamera:
    """A virtual dash camera; `scene(i)` is its frame i at 30 frames/s, for any i >= 0."""

    classes = CLASSES
    palette = PALETTE

    def __init__(self, size: tuple[int, int] = DEFAULT_SIZE, seed: int = 0) -> None:
        height, width = size
        if min(size) < SMALLEST:
            raise DatasetError(
                f"a street of {width}x{height} is too small: use {SMALLEST}x{SMALLEST} or more"
            )
        rng = np.random.default_rng([seed, 0])
        self.seed = seed
        self._canvas = Canvas(height, width, focal=width * float(rng.uniform(0.95, 1.1)))
        self._horizon = round(height * float(rng.uniform(0.49, 0.55)))
        self._plan = Plan(seed)
        slack = max(3, height // 60)
        self._sky = Sky(self._canvas, self._horizon + slack, self._plan.character.weather, seed)
        self._ground = Ground(self._canvas, height - self._horizon + slack)
        exposure = Exposure(
            gain=float(rng.uniform(0.85, 1.25)),
            contrast=float(rng.uniform(1.0, 1.5)),
            warmth=int(rng.integers(-1, 2)),
            noise=float(rng.choice([1.3, 2.0, 2.8])),
        )
        self._optics = Optics(height, width, exposure)

    def scene(self, index: int) -> Scene:
        """Frame `index` with its labels."""
        if index < 0:
            raise IndexError(f"a street camera has no frame {index}")
        view = self._viewpoint(index / FRAME_RATE)
        canvas, plan = self._canvas, self._plan
        sway = 2.0 * math.sin(1.7 * view.seconds) * canvas.width / 480
        nod = 1.6 * math.sin(2.3 * view.seconds + 1) * canvas.height / 360
        canvas.aim(canvas.width // 2 + round(sway), self._horizon + round(nod))
        self._sky.draw(canvas, view.slope)
        first = int(view.travelled // LENGTH)
        numbers = range(first, first + math.ceil(FAR / LENGTH) + 1)
        self._draw_ground(view, numbers)
        moving = movers(plan, view)
        for number in reversed(numbers):
            block = plan.block(number)
            layers = block.layers if number - first < NEAR_BLOCKS else block.far_layers
            for layer in range(len(layers) - 1, -1, -1):
                things = layers[layer]
                extra = moving.get((number, layer))
                if extra:
                    things = sorted([*things, *extra], key=lambda thing: -thing.z)
                for thing in things:
                    thing.draw(canvas, view)
        frame = self._optics.expose(canvas.texels, index)
        return Scene(f"street-{self.seed}-{index:06d}", frame, labels_of(canvas.texels))

    def _viewpoint(self, seconds: float) -> Viewpoint:
        travelled = START + SPEED * seconds + 6 * math.sin(0.11 * seconds)
        plan = self._plan
        lane = -DRIVEN + 0.2 * math.sin(0.37 * seconds)
        slope = (plan.bends.at(travelled + 3) - plan.bends.at(travelled)) / 3
        return Viewpoint(travelled, plan.bends.at(travelled) + lane, slope, seconds)

    def _draw_ground(self, view: Viewpoint, numbers: range) -> None:
        depth = self._ground.depth
        bend = self._plan.bends.along(view.travelled + np.minimum(depth, 150))
        centre = bend - view.across - view.slope * depth
        blocks = {number: self._plan.block(number) for number in numbers}
        sections = {number: block.section for number, block in blocks.items()}
        sun = self._plan.character.sun
        edges = {number: block.shadow for number, block in blocks.items()}
        shade = Shade(sun, edges) if sun else None
        self._ground.draw(self._canvas, view.travelled, centre, sections, shade)


class Street:
    """A data set of streets: frames far apart, on several streets; splits never share one."""

    classes = CLASSES
    palette = PALETTE

    def __init__(
        self,
        split: str,
        seed: int = 0,
        frames: int = 100,
        size: tuple[int, int] = DEFAULT_SIZE,
    ) -> None:
        self._split, self._seed, self._frames, self._size = split, seed, frames, size
        self._cameras: dict[int, StreetCamera] = {}

    def __len__(self) -> int:
        return self._frames

    def __getitem__(self, index: int) -> Scene:
        if not -self._frames <= index < self._frames:
            raise IndexError(f"frame {index} of {self._frames}")
        index %= self._frames
        street, moment = index % STREETS, index // STREETS
        scene = self._camera(street).scene(moment * STRIDE)
        return Scene(f"{self._split}-{index:06d}", scene.frame, scene.labels)

    def __iter__(self) -> Iterator[Scene]:
        return (self[index] for index in range(len(self)))

    def _camera(self, street: int) -> StreetCamera:
        if street not in self._cameras:
            text = f"{self._split}/{self._seed}/{street}"
            digest = hashlib.sha256(text.encode()).digest()
            self._cameras[street] = StreetCamera(self._size, int.from_bytes(digest[:6], "big"))
        return self._cameras[street]

    @staticmethod
    def from_options(text: str, split: str) -> Street:
        """A street from what follows `street:`: nothing, or `?seed=7&frames=200&size=480x360`."""
        options = parse_options(text)
        frames = _whole("frames", options.get("frames", str(FRAMES.get(split, OTHER_FRAMES))), 1)
        seed = _whole("seed", options.get("seed", "0"), 0)
        return Street(split, seed, frames, _size(options.get("size")))


def parse_options(text: str, known: tuple[str, ...] = OPTIONS) -> dict[str, str]:
    """The `?name=value&name=value` after `street:`; an unknown name raises `DatasetError`."""
    options: dict[str, str] = {}
    for part in filter(None, text.removeprefix("?").split("&")):
        name, equals, value = part.partition("=")
        if name not in known or not equals:
            raise DatasetError(
                f"street: has no option {part!r}: it knows {', '.join(known)}, "
                "as in street:?seed=7&frames=200&size=480x360"
            )
        options[name] = value
    return options


def _whole(name: str, text: str, least: int) -> int:
    if not _is_number(text) or int(text) < least:
        raise DatasetError(
            f"street: {name}={text} is no whole number of {least} or more, of {DIGITS} digits"
        )
    return int(text)


def _is_number(text: str) -> bool:
    return text.isdecimal() and len(text) <= DIGITS


def _size(text: str | None) -> tuple[int, int]:
    """`WIDTHxHEIGHT` as (height, width)."""
    if text is None:
        return DEFAULT_SIZE
    sides = text.split("x")
    fits = all(_is_number(side) and SMALLEST <= int(side) <= LARGEST for side in sides)
    if len(sides) != 2 or not fits:
        raise DatasetError(
            f"street: size={text} is not WIDTHxHEIGHT of {SMALLEST} pixels or more, up to "
            f"{LARGEST}, such as 480x360"
        )
    return int(sides[1]), int(sides[0])
