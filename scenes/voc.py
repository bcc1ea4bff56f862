"""PASCAL VOC 2012: 20 things and background, frames of many sizes.

    DIR/JPEGImages/NAME.jpg
    DIR/SegmentationClass/NAME.png              palette PNG of class indices, 255 = border, ignored
    DIR/SegmentationClassAug/NAME.png           more of them (Hariharan et al. 2011), if at hand
    DIR/ImageSets/Segmentation/SPLIT.txt        a NAME a line

DIR is VOC2012 itself or the devkit around it. Everingham et al., IJCV 2010.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from scenes.dataset import IGNORE, Colour, DatasetError, Labels, Scene
from scenes.pictures import check_same_size, read_frame, read_indices

CLASSES = (
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)
PLACES = ("", "VOC2012", "VOCdevkit/VOC2012")  # where VOC2012 may lie below what the user names
LISTS = "ImageSets/Segmentation"


def colour(index: int) -> Colour:
    """The devkit's colour map: bits 0, 3, 6 of the index are the high bits of red, and so on."""
    red, green, blue = (
        sum((index >> (3 * place + channel) & 1) << (7 - place) for place in range(3))
        for channel in range(3)
    )
    return red, green, blue


PALETTE: tuple[Colour, ...] = tuple(map(colour, range(len(CLASSES))))


class Voc:
    """One split, in the order of its list."""

    classes = CLASSES
    palette = PALETTE

    def __init__(self, folder: str, split: str) -> None:
        self._root = _root(Path(folder))
        self._names = read_list(self._root / LISTS, split)

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> Scene:
        name = self._names[index]
        path = self._root / "JPEGImages" / f"{name}.jpg"
        frame, labels = read_frame(path), self._read_labels(name)
        check_same_size(frame, labels, path)
        return Scene(name, frame, labels)

    def __iter__(self) -> Iterator[Scene]:
        return (self[index] for index in range(len(self)))

    def _read_labels(self, name: str) -> Labels:
        path = self._root / "SegmentationClass" / f"{name}.png"
        augmented = self._root / "SegmentationClassAug" / path.name
        if not path.exists() and augmented.exists():
            path = augmented
        labels = read_indices(path)
        bad = labels[(labels >= len(CLASSES)) & (labels != IGNORE)]
        if bad.size:
            raise DatasetError(
                f"{path} holds the label {int(bad[0])}: VOC's are 0 to {len(CLASSES) - 1} and 255; "
                "other classes go into a folder: data set"
            )
        return labels


def _root(folder: Path) -> Path:
    """The VOC2012 folder at or below `folder`."""
    for place in PLACES:
        if (folder / place / LISTS).is_dir():
            return folder / place
    raise DatasetError(
        f"no VOC data set at {folder}: give VOCdevkit or VOCdevkit/VOC2012, the folder with "
        f"JPEGImages/, SegmentationClass/ and {LISTS}/"
    )


def read_list(folder: Path, split: str) -> list[str]:
    """The names in `SPLIT.txt`; none, or one that is no plain file name, raises `DatasetError`."""
    path = folder / f"{split}.txt"
    if not path.is_file():
        splits = ", ".join(sorted(p.stem for p in folder.glob("*.txt"))) or "none"
        raise DatasetError(f"no split {split!r} in {folder}: it has {splits}")
    names = path.read_text(encoding="utf-8", errors="replace").split("\n")
    names = [name.strip() for name in names if name.strip()]
    if not names:
        raise DatasetError(f"{path} names no frame")
    for name in names:
        if Path(name).name != name:
            raise DatasetError(
                f"{path} must hold a frame name such as 2007_000033 a line, not {name!r}"
            )
    return names
