"""Still images: one file, or every image of a folder in name order."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from engines.failures import SourceFailed
from runtime.source import Frame
from runtime.sources.status import ALWAYS_LIVE

IMAGES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})


class FolderSource:
    """Every image once; an unreadable one ends the stream with its name."""

    live = False
    fps = 25.0  # stills have no rate: what FFmpeg assumes for image sequences
    damaged = 0
    status = ALWAYS_LIVE

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._paths = sorted(p for p in path.iterdir() if _is_image(p)) if path.is_dir() else [path]
        self._closed = threading.Event()
        if not self._paths:
            raise SourceFailed(
                f"{path} holds no images ({', '.join(sorted(IMAGES))}): name the folder that does, "
                "or a video file"
            )

    def __iter__(self) -> Generator[Frame, None, None]:
        for index, path in enumerate(self._paths):
            if self._closed.is_set():
                return
            yield Frame(_read(path), index, time.monotonic(), index / self.fps)

    def close(self) -> None:
        """End after the image being read."""
        self._closed.set()


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGES and not path.name.startswith(".")


def _read(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """An image as RGB [H, W, 3], turned upright as its EXIF tag says."""
    try:
        with Image.open(path) as image:
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise SourceFailed(
            f"{path} is not a readable image ({error}): remove or replace it, and start again"
        ) from error
