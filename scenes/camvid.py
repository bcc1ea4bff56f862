"""CamVid with SegNet's 11 classes at 480x360: `<split>/` frames and `<split>annot/` label PNGs.

Brostow et al. 2009, in SegNet's reduction; label 11 (void) reads as ignore. Any split name works.

Frames are named by the drive they come from: `0006R0_f00930`. Neighbouring frames look alike, so
what generalises shows on a drive that training has not seen: `camvid:DIR?without=0006R0` to train,
`camvid:DIR?only=0006R0` (either takes several, with commas) to score.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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

    def __init__(
        self, folder: str, split: str, only: Sequence[str] = (), without: Sequence[str] = ()
    ) -> None:
        """Keep the sequences `only` (none named: all of them), except those in `without`."""
        frames = Path(folder, split)
        if not frames.is_dir():
            raise DatasetError(
                f"no CamVid split at {frames}: give the folder with {split}/ and {split}annot/"
            )
        self._labels = Path(folder, f"{split}annot")
        self._frames = [
            path
            for path in pictures_in(frames)
            if (not only or sequence(path) in only) and sequence(path) not in without
        ]
        self._check_sequences(frames, {*only, *without})

    @classmethod
    def from_options(cls, text: str, split: str) -> CamVid:
        """A split from what follows `camvid:`, such as `DIR?without=0006R0,0016E5`."""
        folder, _, options = text.partition("?")
        names: dict[str, list[str]] = {}
        for part in filter(None, options.split("&")):
            option, _, value = part.partition("=")
            if option not in ("only", "without") or not value:
                raise DatasetError(
                    f"camvid: has no option {part!r}: it knows only=SEQUENCE,... and "
                    "without=SEQUENCE,... as in camvid:DIR?without=0006R0"
                )
            names[option] = value.split(",")
        return cls(folder, split, **names)

    def _check_sequences(self, frames: Path, named: set[str]) -> None:
        """Each named sequence must be in some split, so that one choice serves all of them."""
        known = {sequence(path) for path in frames.parent.glob("*/*_*")}
        if not named <= known:
            raise DatasetError(
                f"no CamVid sequence {min(named - known)!r} in {frames.parent}: "
                f"it has {', '.join(sorted(known)) or 'no frame named SEQUENCE_NUMBER'}"
            )
        if not self._frames:
            present = sorted({sequence(path) for path in pictures_in(frames)})
            raise DatasetError(
                f"the sequences chosen leave no frame of {frames}: it has {', '.join(present)}"
            )

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


def sequence(path: Path) -> str:
    """The drive a frame comes from: what its name says before the first `_`."""
    return path.stem.partition("_")[0]


def read_labels(path: Path, classes: int) -> Labels:
    """Decode a label image [H, W]; every value that is no class reads as ignore."""
    labels = read_indices(path)
    return np.where(labels < classes, labels, np.uint8(IGNORE))
