"""Light on texels: shade and haze, on all channels of a texel at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scenes.dataset import Colour

# Colour and label of a point in one number: R | G << 8 | B << 16 | label << 24.
Texels = NDArray[np.uint32]


def texel(colour: Colour, label: int) -> int:
    """One texel as a plain integer."""
    return colour[0] | colour[1] << 8 | colour[2] << 16 | label << 24


HAZE_COLOUR: Colour = (222, 222, 220)
# Byte-parallel arithmetic on texels: shifted channels without the bits of their neighbours.
LABEL_BYTE = np.uint32(0xFF000000)
HALVES, EIGHTHS = np.uint32(0x7F7F7F), np.uint32(0x1F1F1F)
HAZE_EIGHTH = np.uint32(texel(HAZE_COLOUR, 0)) >> np.uint32(3) & EIGHTHS


@dataclass(frozen=True)
class Light:
    """How a surface is lit: out of the sun it has half its light; haze comes in eighths."""

    shaded: bool = False
    haze: int = 0


SUNLIT, SHADED = Light(), Light(shaded=True)


def tinted(texels: Texels, light: Light) -> Texels:
    """Texels under a light; labels stay."""
    if light.shaded:
        texels = ((texels >> np.uint32(1)) & HALVES) | (texels & LABEL_BYTE)
    if light.haze:
        share = np.uint32(light.haze)
        texels = texels - ((texels >> np.uint32(3)) & EIGHTHS) * share + HAZE_EIGHTH * share
    return texels
