"""Few frames that stretch the ranges as far as all of them do, and writing them as a data set."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from calibration.frame_checks.extremes import TOLERANCE, Extremes
from calibration.frames import MINIMUM
from engines.atomic import replacing_folder
from engines.failures import Refused, UsageError
from scenes.dataset import IGNORE, Dataset

LEGEND = "classes.json"


def covering(found: Extremes) -> list[int]:
    """Frames that together span every range but TOLERANCE of it at each end, the best one first.

    Greedy: each time the frame that reaches most of the ends that are still missing, the earlier
    of two equals. That takes at most ln(2 tensors) + 1 times as many as the best choice.
    """
    reaches = ends(found)
    missing = np.ones(reaches.shape[1], bool)
    chosen: list[int] = []
    while missing.any():
        best = int((reaches & missing).sum(axis=1).argmax())
        chosen.append(best)
        missing &= ~reaches[best]
    return chosen


def ends(found: Extremes) -> NDArray[np.bool_]:
    """[frames, 2 tensors]: whether a frame comes within TOLERANCE of a range's low or high end."""
    slack = TOLERANCE * found.span
    low = found.low <= found.low.min(axis=0) + slack
    high = found.high >= found.high.max(axis=0) - slack
    return np.concatenate([low, high], axis=1)


def at_least(chosen: Sequence[int], count: int, least: int = MINIMUM) -> list[int]:
    """`chosen`, and others evenly spread until there are `least`, which a build asks for."""
    others = [index for index in range(count) if index not in set(chosen)]
    lacking = min(max(0, least - len(chosen)), len(others))
    places = np.linspace(0, len(others) - 1, lacking).round() if lacking else ()
    return [*chosen, *(others[int(place)] for place in places)]


def check_target(folder: Path) -> None:
    """Raise `UsageError` unless frames can be written to `folder`: absent, or empty."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is not empty: give --copy-to a new folder")


def copy_frames(dataset: Dataset, indices: Iterable[int], folder: Path) -> None:
    """Write frames, lossless, as a data set that appears whole or not: `folder:` with their labels,
    `images:` where there are none."""
    with replacing_folder(folder) as temporary:
        images = temporary / "images" if dataset.classes else temporary
        images.mkdir(exist_ok=True)
        if dataset.classes:
            (temporary / "labels").mkdir()
            legend = {"classes": dataset.classes, "palette": dataset.palette, "ignore": IGNORE}
            (temporary / LEGEND).write_text(json.dumps(legend, indent=1) + "\n")
        for index in indices:
            scene = dataset[index]
            name = f"{scene.name.replace('/', '_')}.png"
            if (images / name).exists():
                raise Refused(f"two frames are called {scene.name}: rename one of them")
            Image.fromarray(scene.frame).save(images / name)
            if dataset.classes:
                Image.fromarray(scene.labels).save(temporary / "labels" / name)


def spec_of(folder: Path) -> str:
    """What `--data` takes for a folder that `copy_frames` wrote."""
    return f"{'folder' if (folder / LEGEND).exists() else 'images'}:{folder}"
