"""CamVid with SegNet's 11 classes at 480x360: `<split>/` frames and `<split>annot/` label PNGs.

Brostow et al. 2009, in SegNet's reduction; label 11 (void) reads as ignore. Any split name works.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from scenes.dataset import IGNORE, Colour, DatasetError, Frame, Labels, Scene

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
FRAME_SUFFIXES = (".jpg", ".jpeg", ".png")


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
        self._frames = sorted(p for p in frames.iterdir() if p.suffix.lower() in FRAME_SUFFIXES)
        if not self._frames:
            raise DatasetError(f"{frames} holds no .jpg or .png frame")

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


def read_frame(path: Path) -> Frame:
    """Decode an image file to RGB [H, W, 3]."""
    return np.asarray(_open(path).convert("RGB"))


def read_labels(path: Path, classes: int) -> Labels:
    """Decode a label image [H, W]; every value that is no class reads as ignore."""
    image = _open(path)
    if image.mode not in ("L", "P"):
        raise DatasetError(f"{path} is no label image: 8-bit class indices, got mode {image.mode}")
    labels = np.asarray(image)
    return np.where(labels < classes, labels, np.uint8(IGNORE))


def check_same_size(frame: Frame, labels: Labels, path: Path) -> None:
    """Raise `DatasetError` unless the labels cover the frame exactly."""
    if frame.shape[:2] != labels.shape:
        raise DatasetError(
            f"{path}: frame is {frame.shape[1]}x{frame.shape[0]} but its labels are "
            f"{labels.shape[1]}x{labels.shape[0]}"
        )


def _open(path: Path) -> Image.Image:
    try:
        image = Image.open(path)
        image.load()
        return image
    except FileNotFoundError:
        raise DatasetError(f"{path} is missing: each frame needs a label PNG of its name") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise DatasetError(f"{path} is not a readable image: {error}") from error
