"""A plain folder of pictures, as a camera leaves them: to calibrate on, not to score with.

    DIR/[SPLIT/]NAME.jpg    frames of any size, .jpg or .png

Where DIR has a folder of the split's name, its pictures are the split; else every split is DIR.
There are no classes and every pixel's label is ignore, so whatever scores masks refuses it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from scenes.dataset import IGNORE, Colour, DatasetError, Scene
from scenes.pictures import pictures_in, read_frame


class Unlabelled:
    """The pictures of one folder, in the order of their names."""

    classes: tuple[str, ...] = ()
    palette: tuple[Colour, ...] = ()

    def __init__(self, folder: str, split: str) -> None:
        root = Path(folder)
        if not root.is_dir():
            raise DatasetError(f"no folder {root}: images: takes a folder of .jpg or .png pictures")
        inner = root / split
        self._frames = pictures_in(inner if inner.is_dir() else root)

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index: int) -> Scene:
        path = self._frames[index]
        frame = read_frame(path)
        return Scene(path.stem, frame, np.full(frame.shape[:2], IGNORE, np.uint8))

    def __iter__(self) -> Iterator[Scene]:
        return (self[index] for index in range(len(self)))
