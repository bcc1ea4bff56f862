"""Image files as frames and labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from scenes.dataset import DatasetError, Frame, Labels

SUFFIXES = (".jpg", ".jpeg", ".png")
PILLOW_RAISES = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)


def pictures_in(folder: Path) -> list[Path]:
    """The image files of a folder by name; an empty folder raises `DatasetError`."""
    found = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES)
    if not found:
        raise DatasetError(f"{folder} holds no {' or '.join(SUFFIXES)} frame")
    return found


def read_frame(path: Path) -> Frame:
    """Decode an image file to RGB [H, W, 3], turned upright as its EXIF tag says."""
    image = _open(path, upright=True)
    if image.mode.startswith(("I", "F")):  # Pillow would make 255 of all that is more
        raise DatasetError(
            f"{path} has more than 8 bits a pixel (mode {image.mode}): convert frames to 8 bits, "
            "in the way that the device's camera does"
        )
    return np.asarray(image.convert("RGB"))


def read_indices(path: Path) -> Labels:
    """Decode a label image to its 8-bit values [H, W], palette or grey."""
    image = _open(path)
    if image.mode not in ("L", "P"):
        raise DatasetError(f"{path} is no label image: 8-bit class indices, got mode {image.mode}")
    return np.asarray(image)


def check_same_size(frame: Frame, labels: Labels, path: Path) -> None:
    """Raise `DatasetError` unless the labels cover the frame exactly."""
    if frame.shape[:2] != labels.shape:
        raise DatasetError(
            f"{path}: frame is {frame.shape[1]}x{frame.shape[0]} but its labels are "
            f"{labels.shape[1]}x{labels.shape[0]}"
        )


def _open(path: Path, upright: bool = False) -> Image.Image:
    try:
        with Image.open(path) as image:
            image.load()
            return ImageOps.exif_transpose(image) if upright else image
    except FileNotFoundError:
        raise DatasetError(
            f"{path} is missing: a frame and its labels must both be there"
        ) from None
    except PILLOW_RAISES as error:
        raise DatasetError(f"{path} is not a readable image: {error}") from error
