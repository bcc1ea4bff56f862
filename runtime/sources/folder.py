"""Still images: one file, every image of a folder, or those that a pattern names."""

from __future__ import annotations

import glob
import os
import re
import threading
import time
from collections.abc import Generator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from engines.bundle import PILLOW_RAISES
from engines.failures import SourceFailed
from runtime.source import Frame
from runtime.sources.status import ALWAYS_LIVE

NUMBER = r"%0?([0-9]{0,2})d"
IMAGES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})


class FolderSource:
    """Every image once; an unreadable one ends the stream with its name."""

    live = False
    fps = 25.0  # stills have no rate: what FFmpeg assumes for image sequences
    damaged = 0
    status = ALWAYS_LIVE

    def __init__(self, paths: Sequence[Path], name: str) -> None:
        self.name = name
        self._paths = paths
        self._closed = threading.Event()

    def __iter__(self) -> Generator[Frame, None, None]:
        for index, path in enumerate(self._paths):
            if self._closed.is_set():
                return
            yield Frame(read_image(path), index, time.monotonic(), index / self.fps)

    def close(self) -> None:
        """End after the image being read."""
        self._closed.set()


def images_named(text: str) -> list[Path]:
    """The images that `text` names, in order; none if it is something else.

    An image, a folder (in name order), a glob pattern such as `frames/*.png` (in name order), or a
    numbered sequence such as `frames/%04d.png` (by number, from the smallest there is).
    `SourceFailed` if it is a folder or pattern without images.
    """
    try:
        return _images_named(text, Path(text))
    except (OSError, ValueError) as error:  # no permission, or a name that can be none
        raise SourceFailed(f"{text} cannot be read ({error}): check the path") from error


def _images_named(text: str, path: Path) -> list[Path]:
    if os.path.exists(text):  # noqa: PTH110  Path.exists raises at names that are too long
        if not path.is_dir():
            return [path] if _is_image(path) else []
        found = sorted(entry for entry in path.iterdir() if _is_image(entry))
    elif re.search(NUMBER, path.name):
        found = _numbered(path)
    elif glob.has_magic(text):
        found = sorted(match for match in map(Path, glob.glob(text)) if _is_image(match))  # noqa: PTH207
    else:
        return []
    if not found:
        raise SourceFailed(
            f"{text} holds no images ({', '.join(sorted(IMAGES))}): name the folder that does, "
            "or a video file"
        )
    return found


def _numbered(pattern: Path) -> list[Path]:
    """The images that a printf pattern names, by number."""
    before, digits, after = re.split(NUMBER, pattern.name, maxsplit=1)
    number = re.compile(rf"{re.escape(before)}(\d{{{int(digits or 1)},}}){re.escape(after)}")
    entries = pattern.parent.iterdir() if os.path.isdir(pattern.parent) else ()  # noqa: PTH112
    matches = [(number.fullmatch(entry.name), entry) for entry in entries if _is_image(entry)]
    return [entry for _, entry in sorted((int(m[1]), entry) for m, entry in matches if m)]


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGES and not path.name.startswith(".")


def read_image(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """An image as RGB [H, W, 3], turned upright as its EXIF tag says."""
    try:
        with Image.open(path) as image:
            if image.mode.startswith(("I", "F")):  # Pillow would make 255 of all that is more
                raise SourceFailed(
                    f"{path} has more than 8 bits a pixel (mode {image.mode}): convert it to 8 "
                    "bits, in the way that the camera does"
                )
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except PILLOW_RAISES as error:
        raise SourceFailed(
            f"{path} is not a readable image ({error}): remove or replace it, and start again"
        ) from error
