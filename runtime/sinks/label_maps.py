"""Each frame's labels as a palette PNG: its values are the classes, its colours theirs."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pictures

from engines.atomic import write_bytes
from engines.failures import Failure, UsageError
from engines.spec import Colour
from runtime.lane import Result

# A street of 960x540: 14 kB in 1.8 core-ms; level 6 is 10 kB in 4.6, level 1 17 kB in 1.8.
LEVEL = 3


class LabelMaps:
    """Writes `00000012.png` for frame 12, so that names sort as the frames do; use with `with`.

    Each file appears whole or not at all.

    Args:
        folder: Must exist.
        palette: Colours of the classes.
        name: Of the sink.
    """

    def __init__(self, folder: Path, palette: Sequence[Colour], name: str = "label maps") -> None:
        self.name = name
        self._folder = folder
        self._palette = palette

    def put(self, result: Result) -> bool:
        """Write the labels of a result."""
        path = self._folder / f"{result.frame.index:08}.png"
        try:
            write_bytes(path, label_png(result.labels, self._palette))
        except OSError as error:
            raise Failure(
                f"{path} was not written ({error.strerror}): is there room on the disk? "
                f"df -h {self._folder}"
            ) from error
        return True

    def __enter__(self) -> LabelMaps:
        return self

    def __exit__(self, *_: object) -> None: ...


def label_png(labels: NDArray[np.uint8], palette: Sequence[Colour]) -> bytes:
    """Labels [H, W] as a palette PNG; a label without a colour is black."""
    height, width = labels.shape
    picture = Pictures.frombytes("P", (width, height), labels.tobytes())
    levels = [level for colour in palette for level in colour]
    picture.putpalette(levels + [0] * (768 - len(levels)))
    data = io.BytesIO()
    picture.save(data, "PNG", compress_level=LEVEL)
    return data.getvalue()


def check_folder(folder: Path) -> None:
    """Make the folder of `--labels`; `UsageError` if it cannot be, or has label maps already."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        used = next(folder.glob("*.png"), None)
    except OSError as error:
        raise UsageError(f"--labels {folder}: {error.strerror}; name a folder") from None
    if used is not None:
        raise UsageError(
            f"--labels {folder} holds {used.name}: name a new folder, so that two runs do not mix"
        )
