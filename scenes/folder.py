"""A folder of one's own frames: `images/`, `labels/` and `classes.json`.

    DIR/classes.json            {"classes": ["road", ...], "palette": [[r, g, b], ...],
                                 "ignore": 255}
    DIR/images/[SPLIT/]NAME.jpg frames of any size, .jpg or .png
    DIR/labels/[SPLIT/]NAME.png 8-bit class indices, as large as their frame

`palette` and `ignore` may be left out. Where images/ has split folders, labels/ has the same; else
every split is the whole folder.
"""

from __future__ import annotations

import colorsys
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scenes.dataset import IGNORE, Colour, DatasetError, Labels, Scene
from scenes.pictures import check_same_size, pictures_in, read_frame, read_indices

LAYOUT = "a folder: data set is DIR/images/, DIR/labels/ and DIR/classes.json"


@dataclass(frozen=True)
class Legend:
    """What the label values of a folder mean."""

    classes: tuple[str, ...]
    palette: tuple[Colour, ...]
    ignore: int


class Folder:
    """One split of a folder data set, in the order of the file names."""

    def __init__(self, folder: str, split: str) -> None:
        root = Path(folder)
        for part in ("images", "labels"):
            if not (root / part).is_dir():
                raise DatasetError(f"no {part}/ in {root}: {LAYOUT}")
        self._legend = read_legend(root / "classes.json")
        self.classes, self.palette = self._legend.classes, self._legend.palette
        inner = _split_folder(root, split)
        self._labels = root / "labels" / inner
        self._frames = pictures_in(root / "images" / inner)

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index: int) -> Scene:
        path = self._frames[index]
        frame = read_frame(path)
        labels = self._read_labels(self._labels / f"{path.stem}.png")
        check_same_size(frame, labels, path)
        return Scene(path.stem, frame, labels)

    def __iter__(self) -> Iterator[Scene]:
        return (self[index] for index in range(len(self)))

    def _read_labels(self, path: Path) -> Labels:
        values = read_indices(path)
        ignored = values == self._legend.ignore
        if self._legend.ignore != IGNORE:
            ignored |= values == IGNORE
        bad = values[~ignored & (values >= len(self.classes))]
        if bad.size:
            raise DatasetError(
                f"{path} holds the label {int(bad[0])}, but classes.json names "
                f"{len(self.classes)} classes (0 to {len(self.classes) - 1}) and ignores "
                f"{self._legend.ignore}: correct the labels, or add the class"
            )
        return np.where(ignored, np.uint8(IGNORE), values)


def _split_folder(root: Path, split: str) -> str:
    """`split` where images/ has a folder for it, "" where it has no folders at all."""
    splits = sorted(p.name for p in (root / "images").iterdir() if p.is_dir())
    if not splits:
        return ""
    for part in ("images", "labels"):
        if not (root / part / split).is_dir():
            raise DatasetError(
                f"no split {split!r} in {root / part}: images/ has {', '.join(splits)}, "
                "and labels/ needs the same folders"
            )
    return split


def read_legend(path: Path) -> Legend:
    """Read and check a classes.json; anything missing or malformed raises `DatasetError`."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DatasetError(f"no classes.json at {path}: {LAYOUT}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise DatasetError(f"{path} is not readable JSON: {error}") from error
    if not isinstance(data, dict):
        raise DatasetError(f'{path} must be an object such as {{"classes": ["road", "car"]}}')
    unknown = sorted(set(data) - {"classes", "palette", "ignore"})
    if unknown:
        raise DatasetError(f"{path} has the unknown key {unknown[0]!r}: classes, palette, ignore")
    classes = _classes(path, data.get("classes"))
    ignore = data.get("ignore", IGNORE)
    if not _is_byte(ignore) or ignore < len(classes):
        raise DatasetError(
            f"{path}: ignore must be a label from {len(classes)} to 255 that is no class, "
            f"got {ignore!r}"
        )
    return Legend(classes, _palette(path, data.get("palette"), len(classes)), ignore)


def _classes(path: Path, value: Any) -> tuple[str, ...]:
    named = isinstance(value, list) and all(isinstance(name, str) and name for name in value)
    if not named or not 1 <= len(value) < IGNORE or len(set(value)) != len(value):
        raise DatasetError(f'{path}: "classes" must list 1 to {IGNORE - 1} different names')
    return tuple(value)


def _palette(path: Path, value: Any, classes: int) -> tuple[Colour, ...]:
    """The colours given, or evenly spaced hues."""
    if value is None:
        return tuple(_hue(index / classes) for index in range(classes))
    if not isinstance(value, list) or not all(_is_colour(colour) for colour in value):
        raise DatasetError(f'{path}: "palette" must list [r, g, b] colours of 0 to 255')
    if len(value) != classes:
        raise DatasetError(f"{path}: {classes} classes but {len(value)} palette colours")
    return tuple((colour[0], colour[1], colour[2]) for colour in value)


def _hue(turn: float) -> Colour:
    red, green, blue = (round(255 * c) for c in colorsys.hsv_to_rgb(turn, 0.75, 0.85))
    return red, green, blue


def _is_colour(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(map(_is_byte, value))


def _is_byte(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 255
