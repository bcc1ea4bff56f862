"""Frames and masks as data URIs, so that a page is one file."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from scenes.dataset import Colour, Frame, Labels

MAX_WIDTH = 640  # pixels; wider pictures only make the page heavier
QUALITY = 82  # JPEG; masks are PNG, where each colour is exact

# What a differing pixel means, in colours that red-green blindness keeps apart.
LOST = (226, 61, 61)  # FP32 was right
GAINED = (58, 134, 255)  # the reduced precision is right
OTHER = (255, 183, 3)  # neither is, or the pixel is unlabelled


def photo(frame: Frame) -> str:
    """A frame [H, W, 3] as a JPEG data URI."""
    return _uri(_fit(Image.fromarray(frame), Image.Resampling.LANCZOS), "JPEG", quality=QUALITY)


def mask(labels: Labels, palette: Sequence[Colour]) -> str:
    """A mask [H, W] in its classes' colours as a PNG data URI; ignore is black."""
    image = Image.fromarray(labels)
    image.putpalette(bytes(np.asarray(palette, np.uint8).ravel()).ljust(768, b"\0"))
    return _uri(_fit(image, Image.Resampling.NEAREST), "PNG", optimize=True)


def disagreement(frame: Frame, truth: Labels, reference: Labels, candidate: Labels) -> str:
    """The frame in dim grey, and in colour where two masks differ: who is right there."""
    grey = (frame.mean(axis=2, keepdims=True) * 0.5).astype(np.uint8)
    picture = np.repeat(grey, 3, axis=2)
    differs = reference != candidate
    picture[differs] = OTHER
    picture[differs & (reference == truth)] = LOST
    picture[differs & (candidate == truth)] = GAINED
    return _uri(_fit(Image.fromarray(picture), Image.Resampling.NEAREST), "PNG", optimize=True)


def _fit(image: Image.Image, resampling: Image.Resampling) -> Image.Image:
    if image.width <= MAX_WIDTH:
        return image
    return image.resize((MAX_WIDTH, round(image.height * MAX_WIDTH / image.width)), resampling)


def _uri(image: Image.Image, kind: str, **options: int | bool) -> str:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"
