"""What a dataset is, and how one is named on the command line.

`SPEC` is `camvid:DIR`, `voc:DIR`, `cityscapes:DIR`, `folder:DIR` or `street:` (procedural, endless,
labelled); `images:DIR` is pictures without labels, to calibrate on. Options follow a `?`:
`street:?seed=7&frames=200`, `camvid:DIR?without=0006R0`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.uint8]  # [H, W, 3] RGB
Labels = NDArray[np.uint8]  # [H, W], 255 = ignore
Colour = tuple[int, int, int]

IGNORE = 255


class DatasetError(Exception):
    """A dataset that is missing, empty or malformed; one sentence with cause and next step."""

    exit_code = 6


@dataclass(frozen=True)
class Scene:
    """One labelled frame; `name` is unique within its split and stable across runs."""

    name: str
    frame: Frame
    labels: Labels


class Dataset(Protocol):
    """A finite, indexable sequence of scenes with a fixed set of classes."""

    @property
    def classes(self) -> tuple[str, ...]: ...

    @property
    def palette(self) -> tuple[Colour, ...]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Scene: ...

    def __iter__(self) -> Iterator[Scene]: ...


def spread(count: int, limit: int | None) -> list[int]:
    """Indices of `limit` of `count` frames, evenly spread; all of them without a limit."""
    wanted = count if limit is None else min(limit, count)
    return [int(i) for i in np.linspace(0, count - 1, wanted).round()]


def open_dataset(spec: str, split: str) -> Dataset:
    """Open the dataset that `spec` names; a wrong or unreadable one raises `DatasetError`."""
    from scenes.camvid import CamVid
    from scenes.cityscapes import Cityscapes
    from scenes.folder import Folder
    from scenes.street import Street
    from scenes.unlabelled import Unlabelled
    from scenes.voc import Voc

    kind, _, rest = spec.partition(":")
    readers: dict[str, Callable[[str, str], Dataset]] = {
        "camvid": CamVid.from_options,
        "voc": Voc,
        "cityscapes": Cityscapes,
        "folder": Folder,
        "images": Unlabelled,
        "street": Street.from_options,
    }
    if kind not in readers or ":" not in spec:
        known = ", ".join(f"{name}:" for name in readers)
        raise DatasetError(f"unknown dataset {spec!r}: expected one of {known} (e.g. camvid:DIR)")
    try:
        return readers[kind](rest, split)
    except (OSError, ValueError) as error:  # a name that is too long or no name, no permission
        raise DatasetError(
            f"{spec} cannot be read ({error}): check the folder and the split {split!r}"
        ) from error
