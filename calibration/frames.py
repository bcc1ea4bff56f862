"""The frames a model is calibrated on: real, evenly spread over a split, and hashed.

There is no way to ask for random data here: ranges taken from noise ruin masks silently.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray

from engines.failures import Refused
from engines.preprocess import fit_frame
from scenes.dataset import Dataset, open_dataset

MINIMUM = 16  # below this a single odd frame decides the ranges
RECOMMENDED = 100
FLAT = 2.0  # grey levels of deviation; a lens cap or a black frame has less


class CalibrationFrames(Sequence[NDArray[np.uint8]]):
    """At most `limit` frames [H, W, 3] of a dataset at the model's size, decoded on access."""

    def __init__(self, dataset: Dataset, size: tuple[int, int], limit: int) -> None:
        count = min(limit, len(dataset))
        self._dataset = dataset
        self._size = size
        self._indices = np.linspace(0, len(dataset) - 1, count).round().astype(int)

    @staticmethod
    def open(spec: str, split: str, size: tuple[int, int], limit: int) -> CalibrationFrames:
        """Open `spec`'s split; too few frames or flat ones raise `Refused`."""
        frames = CalibrationFrames(open_dataset(spec, split), size, limit)
        if len(frames) < MINIMUM:
            raise Refused(
                f"{spec} has only {len(frames)} frames in split {split}: calibration needs at "
                f"least {MINIMUM}, better {RECOMMENDED}, from the place where the camera will be"
            )
        return frames

    def __len__(self) -> int:
        return len(self._indices)

    @overload
    def __getitem__(self, index: int) -> NDArray[np.uint8]: ...
    @overload
    def __getitem__(self, index: slice) -> list[NDArray[np.uint8]]: ...
    def __getitem__(self, index: int | slice) -> NDArray[np.uint8] | list[NDArray[np.uint8]]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return fit_frame(self._dataset[int(self._indices[index])].frame, self._size)

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
