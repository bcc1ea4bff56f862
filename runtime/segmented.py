"""A segmented picture, as programs use it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from engines.blend import blend
from engines.failures import UsageError, hint
from engines.spec import ModelSpec
from runtime.frame_path import Labels
from runtime.lane import Result
from runtime.regions import Region, class_areas, find_regions
from runtime.sinks.label_maps import label_png
from runtime.source import Image


@dataclass(frozen=True)
class Segmented:
    """One picture and the class of each of its pixels.

    Attributes:
        image: [H, W, 3], uint8 RGB.
        labels: [H, W], uint8: places in `classes`.
        camera: Which of the stream's cameras it is of, from 0.
        index: Of the frame, as the camera gave it; gaps are frames that were dropped.
        time: Seconds since the camera's first frame; a video's own time.
        age: Seconds from capture until the stream handed it over.
        picture: With the overlay, if the stream was asked to draw one.
        spec: Of the model.
    """

    image: Image
    labels: Labels
    camera: int
    index: int
    time: float
    age: float
    picture: Image | None
    spec: ModelSpec

    @property
    def classes(self) -> tuple[str, ...]:
        """Names, in label order."""
        return self.spec.classes

    @cached_property
    def shares(self) -> dict[str, float]:
        """The share of all pixels, 0 to 1, for each class."""
        areas = class_areas(self.labels, len(self.classes)) / self.labels.size
        return dict(zip(self.classes, areas.tolist(), strict=True))

    def share(self, name: str) -> float:
        """The share of all pixels that a class covers, 0 to 1."""
        return self.shares[self._known(name)]

    def mask(self, name: str) -> NDArray[np.bool_]:
        """Where a class is: [H, W]."""
        return np.asarray(self.labels == self.classes.index(self._known(name)))

    def regions(
        self, name: str | None = None, *, min_region: float = 0.0, tolerance: float | None = 1.0
    ) -> list[Region]:
        """Connected areas of one class, or of all, the largest first.

        Args:
            name: Of the class; `classes[region.label]` tells a region's.
            min_region: The share of the picture below which a region is left out.
            tolerance: How far, in pixels, a polygon may be from the exact outline; None: no
                polygons, which take two thirds of the time.
        """
        labels = self.labels
        if name is not None:
            label = self.classes.index(self._known(name))
            labels = np.where(labels == label, labels, np.uint8(255))
        return find_regions(labels, round(min_region * labels.size), tolerance)

    def overlay(self, alpha: float = 0.5) -> Image:
        """The picture under its coloured mask: [H, W, 3]."""
        return blend(self.image, self.labels, self.spec.palette, alpha)

    def png(self) -> bytes:
        """The labels as a palette PNG: its values are the classes, its colours theirs."""
        return label_png(self.labels, self.spec.palette)

    def _known(self, name: str) -> str:
        if name not in self.classes:
            raise UsageError(f"no class {name!r}: {hint(name, self.classes)}")
        return name


def segmented(result: Result, spec: ModelSpec) -> Segmented:
    """A stream's result with the names of its classes."""
    frame = result.frame
    return Segmented(
        frame.image,
        result.labels,
        result.camera,
        frame.index,
        frame.time,
        result.age,
        result.picture,
        spec,
    )
