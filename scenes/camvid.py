"""CamVid with SegNet's 11 classes at 480x360: `<split>/` frames and `<split>annot/` label PNGs.

Brostow et al. 2009, in SegNet's reduction; label 11 (void) reads as ignore. Any split name works.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from scenes.dataset import IGNORE, Colour, DatasetError, Labels, Scene
from scenes.pictures import check_same_size, pictures_in, read_frame, read_indices

CLASSES = (
    "Sky",
    "Building",
    "Pole",
    "Road",
    "Pavement",
    "Tree",
    "SignSymbol",
    "Fence",
    "Car",
    "Pedestrian",
    "Bicyclist",
)
PALETTE: tuple[Colour, ...] = (
    (128, 128, 128),
    (128, 0, 0),
    (192, 192, 128),
    (128, 64, 128),
    (60, 40, 222),
    (128, 128, 0),
    (192, 128, 128),
    (64, 64, 128),
    (64, 0, 128),
    (64, 64, 0),
    (0, 128, 192),
)


class CamVid:
    """One split of a CamVid folder, in the order of the file names (time order)."""

    classes = CLASSES
    palette = PALETTE

    def __init__(self, folder: str, split: str) -> None:
        frames = Path(folder, split)
        if not frames.is_dir():
            raise DatasetError(
                f"no CamVid split at {frames}: give the folder with {split}/ and {split}annot/"
            )
        self._labels = Path(folder, f"{split}annot")
        self._frames = pictures_in(frames)

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index: int) -> Scene:
        path = self._frames[index]
        labels = read_labels(self._labels / f"{path.stem}.png", len(CLASSES))
        frame = read_frame(path)
        check_same_size(frame, labels, path)
        return Scene(path.stem, frame, labels)

    def __iter__(self) -> Iterator[Scene]:
        return (self[index] for index in range(len(self)))


def read_labels(path: Path, classes: int) -> Labels:
    """Decode a label image [H, W]; every value that is no class reads as ignore."""
    labels = read_indices(path)
    return np.where(labels < classes, labels, np.uint8(IGNORE))
