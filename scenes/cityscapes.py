"""Cityscapes with its 19 evaluated classes: 2048x1024 frames of 50 cities.

    DIR/leftImg8bit/SPLIT/CITY/NAME_leftImg8bit.png
    DIR/gtFine/SPLIT/CITY/NAME_gtFine_labelIds.png

Cordts et al., CVPR 2016. The label ids are mapped to the 19 train ids by the table of the authors'
scripts (cityscapesScripts, helpers/labels.py); every other id reads as ignore.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from scenes.dataset import IGNORE, Colour, DatasetError, Labels, Scene
from scenes.pictures import check_same_size, read_frame, read_indices

# class, its id in a labelIds.png, its colour; the row is the train id
TABLE: tuple[tuple[str, int, Colour], ...] = (
    ("road", 7, (128, 64, 128)),
    ("sidewalk", 8, (244, 35, 232)),
    ("building", 11, (70, 70, 70)),
    ("wall", 12, (102, 102, 156)),
    ("fence", 13, (190, 153, 153)),
    ("pole", 17, (153, 153, 153)),
    ("traffic light", 19, (250, 170, 30)),
    ("traffic sign", 20, (220, 220, 0)),
    ("vegetation", 21, (107, 142, 35)),
    ("terrain", 22, (152, 251, 152)),
    ("sky", 23, (70, 130, 180)),
    ("person", 24, (220, 20, 60)),
    ("rider", 25, (255, 0, 0)),
    ("car", 26, (0, 0, 142)),
    ("truck", 27, (0, 0, 70)),
    ("bus", 28, (0, 60, 100)),
    ("train", 31, (0, 80, 100)),
    ("motorcycle", 32, (0, 0, 230)),
    ("bicycle", 33, (119, 11, 32)),
)
LAST_ID = 33
CLASSES = tuple(name for name, _, _ in TABLE)
PALETTE: tuple[Colour, ...] = tuple(colour for _, _, colour in TABLE)

FRAME = "_leftImg8bit.png"
LABELS = "_gtFine_labelIds.png"


def train_ids() -> Labels:
    """Train id, or ignore, by label id [256]."""
    table = np.full(256, IGNORE, np.uint8)
    table[[label for _, label, _ in TABLE]] = np.arange(len(TABLE))
    return table


class Cityscapes:
    """One split, city by city."""

    classes = CLASSES
    palette = PALETTE

    def __init__(self, folder: str, split: str) -> None:
        root = Path(folder)
        cities = root / "leftImg8bit" / split
        if not cities.is_dir():
            splits = sorted(p.name for p in (root / "leftImg8bit").glob("*/"))
            raise DatasetError(
                f"no Cityscapes split at {cities}: give the folder with leftImg8bit/ and gtFine/"
                + (f"; its splits are {', '.join(splits)}" if splits else "")
            )
        self._frames = sorted(cities.glob(f"*/*{FRAME}"))
        if not self._frames:
            raise DatasetError(f"{cities} holds no CITY/NAME{FRAME}")
        self._labels = root / "gtFine" / split
        self._train_ids = train_ids()

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index: int) -> Scene:
        path = self._frames[index]
        name = path.name.removesuffix(FRAME)
        frame = read_frame(path)
        labels = self._read_labels(self._labels / path.parent.name / f"{name}{LABELS}")
        check_same_size(frame, labels, path)
        return Scene(name, frame, labels)

    def __iter__(self) -> Iterator[Scene]:
        return (self[index] for index in range(len(self)))

    def _read_labels(self, path: Path) -> Labels:
        labels = read_indices(path)
        if labels.max(initial=0) > LAST_ID:
            raise DatasetError(
                f"{path} holds the label {int(labels.max())}: Cityscapes' ids end at {LAST_ID}; "
                "is it a labelTrainIds image under another name?"
            )
        return self._train_ids[labels]
