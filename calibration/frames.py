"""The frames a model is calibrated on: real, evenly spread over a split, and hashed.

There is no way to ask for random data here: ranges taken from noise ruin masks silently.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray

from engines.failures import Refused, UsageError
from engines.preprocess import fit_frame
from scenes.dataset import Dataset, Labels, open_dataset

MINIMUM = 16  # below this a single odd frame decides the ranges
RECOMMENDED = 100
HELD_OUT = 40  # frames to judge schemes on
FLAT = 2.0  # grey levels of deviation; a lens cap or a black frame has less


class CalibrationFrames(Sequence[NDArray[np.uint8]]):
    """Frames [H, W, 3] of a dataset at the model's size, decoded on access.

    One that cannot be read raises `scenes.dataset.DatasetError` with its path.
    """

    def __init__(self, dataset: Dataset, size: tuple[int, int], indices: Sequence[int]) -> None:
        self._dataset = dataset
        self._size = size
        self._indices = indices

    @staticmethod
    def open(spec: str, split: str, size: tuple[int, int], limit: int) -> CalibrationFrames:
        """At most `limit` frames of `spec`'s split; too few raise `Refused`."""
        return CalibrationFrames.open_divided(spec, split, size, limit, held_out=0)[0]

    @staticmethod
    def open_divided(
        spec: str, split: str, size: tuple[int, int], limit: int, held_out: int = HELD_OUT
    ) -> tuple[CalibrationFrames, CalibrationFrames]:
        """At most `limit` frames to observe, and up to `held_out` others to judge schemes on.

        Too few raise `Refused`, a `limit` that is too low `UsageError`.
        """
        if limit < MINIMUM:
            raise UsageError(
                f"--frames {limit}: calibration needs at least {MINIMUM}, better {RECOMMENDED}"
            )
        dataset = open_dataset(spec, split)
        observed, judged = divide(len(dataset), limit, held_out)
        if len(observed) < MINIMUM:
            kept = f" beside {len(judged)} to judge schemes on" if held_out else ""
            raise Refused(
                f"{spec} has only {len(observed)} frames in split {split}{kept}: calibration needs "
                f"at least {MINIMUM}, better {RECOMMENDED}, from the place where the camera will be"
                + ("; --scheme percentile chooses nothing and holds none out" if held_out else "")
            )
        return CalibrationFrames(dataset, size, observed), CalibrationFrames(dataset, size, judged)

    def __len__(self) -> int:
        return len(self._indices)

    @overload
    def __getitem__(self, index: int) -> NDArray[np.uint8]: ...
    @overload
    def __getitem__(self, index: slice) -> list[NDArray[np.uint8]]: ...
    def __getitem__(self, index: int | slice) -> NDArray[np.uint8] | list[NDArray[np.uint8]]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return fit_frame(self._dataset[self._indices[index]].frame, self._size)

    @property
    def truths(self) -> Sequence[Labels]:
        """The labels [H, W] of each frame at their own size, decoded on access."""
        return Truths(self._dataset, self._indices)

    def digest(self) -> str:
        """Sha256 over the frames' pixels, the same in any order; flat frames raise `Refused`."""
        hashes = []
        flat = 0
        for frame in self:
            hashes.append(hashlib.sha256(frame.tobytes()).digest())
            flat += float(frame.std()) < FLAT
        if flat > len(hashes) // 10:
            raise Refused(
                f"{flat} of {len(hashes)} calibration frames are blank (one flat colour): "
                "check the camera and the files, then calibrate again"
            )
        return hashlib.sha256(b"".join(sorted(hashes))).hexdigest()


class Truths(Sequence[Labels]):
    """Labels of some frames of a dataset; where nothing is labelled, all of them are ignore."""

    def __init__(self, dataset: Dataset, indices: Sequence[int]) -> None:
        self._dataset, self._indices = dataset, indices

    def __len__(self) -> int:
        return len(self._indices)

    @overload
    def __getitem__(self, index: int) -> Labels: ...
    @overload
    def __getitem__(self, index: slice) -> list[Labels]: ...
    def __getitem__(self, index: int | slice) -> Labels | list[Labels]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return self._dataset[self._indices[index]].labels


def divide(count: int, limit: int, held_out: int) -> tuple[list[int], list[int]]:
    """Where the observed and the held-out frames lie in a split of `count`; never the same.

    Both spread evenly over the split and within each other. At most `limit` are observed; where
    frames are scarcer than that, at most a quarter is held out.
    """
    chosen = np.linspace(0, count - 1, min(limit + held_out, count)).round().astype(int).tolist()
    judged = min(held_out, max(len(chosen) // 4, len(chosen) - limit))
    # The middles of `judged` equal stretches.
    places = {(2 * part + 1) * len(chosen) // (2 * judged) for part in range(judged)}
    return (
        [index for place, index in enumerate(chosen) if place not in places],
        [index for place, index in enumerate(chosen) if place in places],
    )
