"""The ground under a moving camera, looked up in the pictures of its sections."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scenes.street_canvas import EYE, Canvas
from scenes.street_light import SHADED, Texels, tinted
from scenes.street_paving import (
    ACROSS,
    ALONG,
    HALF_SPAN,
    HALVINGS,
    LENGTH,
    Section,
    halvings_across,
    section_levels,
)

SECTIONS = 9  # kept painted, 3.9 MB each; seven are in view at a time
OFF_CENTRE = 4.0  # metres the camera is ever beside the road's middle, bends in view included
Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Shade:
    """The shadow of the fronts on one side (-1 left, 1 right) of the road.

    `edges` has, for each block, how far the shadow's edge is from the road's middle on that side,
    in metres; a negative edge lies beyond the middle.
    """

    side: int
    edges: dict[int, float]


class Ground:
    """Draws the ground under a camera; holds where each pixel below the horizon looks."""

    def __init__(self, canvas: Canvas, rows: int) -> None:
        drop = np.arange(rows) + 0.5
        self.depth = canvas.focal * EYE / drop
        self._halvings = _halvings(self.depth, canvas.focal)
        self._width = (ACROSS >> halvings_across(self._halvings)).astype(np.int32)
        self._density = ACROSS / (2 * HALF_SPAN) / 2.0 ** halvings_across(self._halvings)
        columns = np.arange(-canvas.width, canvas.width) + 0.5
        across = self.depth[:, None] * columns / canvas.focal
        self._table = np.floor(across * self._density[:, None]).astype(np.int32)
        self._zero = canvas.width
        reach = self.depth * (canvas.width / 2 + 20) / canvas.focal + OFF_CENTRE
        self._wide = int(np.count_nonzero(reach > HALF_SPAN))  # rows that may see past a section
        # Of this camera alone: eight that share sixteen sections paint five anew for each frame.
        self._levels = lru_cache(maxsize=SECTIONS)(section_levels)

    def draw(
        self,
        canvas: Canvas,
        travelled: float,
        centre: Floats,
        sections: dict[int, Section],
        shade: Shade | None,
    ) -> None:
        """Draw all rows below the horizon.

        `centre` is where the middle of the road lies at each row's depth, in camera metres.
        `sections` gives the section of each index travelled // LENGTH in view.
        """
        horizon = int(canvas.cy)
        rows = canvas.height - horizon
        first = self._zero - int(canvas.cx)
        offset = np.floor((HALF_SPAN - centre[:rows]) * self._density[:rows]).astype(np.int32)
        index = self._table[:rows, first : first + canvas.width] + offset[:, None]
        width = self._width[:rows]
        wide = index[: self._wide]
        np.maximum(wide, 0, out=wide)
        np.minimum(wide, width[: self._wide, None] - 1, out=wide)
        place = (travelled + self.depth[:rows]) / LENGTH
        number = np.floor(place).astype(np.intp)
        shadow = None if shade is None else self._shadow(index, number, shade)
        texel_rows = ((place - number) * (ALONG >> self._halvings[:rows])).astype(np.int32)
        index += (texel_rows * width)[:, None]
        ground = canvas.texels[horizon:]
        self._gather(ground, index, number, sections)
        if shadow is not None:
            np.copyto(ground, tinted(ground, SHADED), where=shadow)

    def _shadow(
        self, index: NDArray[np.int32], number: NDArray[np.intp], shade: Shade
    ) -> NDArray[np.bool_]:
        """Where a row's texel columns lie between the fronts and the end of their shadow."""
        edge = np.array([shade.edges.get(place, math.inf) for place in number.tolist()])
        density = self._density[: len(number)]
        if shade.side > 0:
            return index > ((HALF_SPAN + edge) * density)[:, None]
        return index < ((HALF_SPAN - edge) * density)[:, None]

    def _gather(
        self,
        out: Texels,
        index: NDArray[np.int32],
        number: NDArray[np.intp],
        sections: dict[int, Section],
    ) -> None:
        key = number * HALVINGS + self._halvings[: len(number)]
        ends = np.append(np.flatnonzero(np.diff(key)) + 1, len(key))
        begin = 0
        for end in ends.tolist():
            section = sections.get(int(number[begin]), sections[max(sections)])
            level = self._levels(section)[int(self._halvings[begin])]
            out[begin:end] = level.take(index[begin:end])
            begin = end


def _halvings(depth: Floats, focal: float) -> NDArray[np.intp]:
    """How often a section is halved along the road at each depth: one texel per row of pixels."""
    footprint = depth**2 / (focal * EYE) * (ALONG / LENGTH)
    steps = sum((footprint > 2.0**k * 1.42).astype(np.intp) for k in range(HALVINGS - 1))
    return np.asarray(steps, np.intp)
