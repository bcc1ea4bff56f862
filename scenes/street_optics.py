"""What lens and sensor do to the drawn picture: a slight blur, exposure and colour, noise."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scenes.dataset import Frame, Labels
from scenes.street_light import Texels

NOISE_LIMIT = (
    12  # grey levels; tones keep this distance from 0 and 255, so adding bytes never wraps
)


@dataclass(frozen=True)
class Exposure:
    """How the sensor was set; `warmth` is -1 (cold), 0 or 1, `noise` the σ in grey levels."""

    gain: float = 1.0
    contrast: float = 1.15
    warmth: int = 0
    noise: float = 2.2


class Optics:
    """Turns drawn texels into a frame; holds its tone table, its noise and its buffers."""

    def __init__(self, height: int, width: int, exposure: Exposure) -> None:
        self._shape = (height, width)
        self._table = tone_table(exposure)
        self._noise = noise_bank(height * width, exposure.noise, exposure.warmth)
        self._spare = np.empty((2, height * width * 3), np.uint8)

    def expose(self, texels: Texels, index: int) -> Frame:
        """The frame [H, W, 3] of a drawn canvas; `index` picks the noise."""
        height, width = self._shape
        picture = Image.frombuffer("RGBX", (width, height), texels, "raw", "RGBX", 0, 1)
        data = bytearray(picture.tobytes("raw", "RGB"))
        frame = np.frombuffer(data.translate(self._table), np.uint8)
        self._blur(frame, 3 * (width + 1))
        start = index * 7919 * 3 % (self._noise.size - frame.size)
        frame += self._noise[start : start + frame.size]
        return frame.reshape(height, width, 3)

    def _blur(self, frame: NDArray[np.uint8], step: int) -> None:
        """Weights 1 2 1 along a diagonal, as the mean of the means with either neighbour.

        One diagonal softens upright and level edges alike at half the cost of two axes. The last
        row keeps its values, and lines wrap into each other by one pixel.
        """
        pairs, spare = self._spare
        size = frame.size - step
        _mean(frame[step:], frame[:size], pairs[:size], spare[:size])
        inner = size - step
        _mean(pairs[step:size], pairs[:inner], frame[step : step + inner], spare[:inner])


def labels_of(texels: Texels) -> Labels:
    """The labels [H, W] of a drawn canvas."""
    return texels.view(np.uint8).reshape(*texels.shape, 4)[..., 3].copy()


def tone_table(exposure: Exposure) -> bytes:
    """256 output levels: gain, then a contrast curve, clear of both ends by `NOISE_LIMIT`."""
    light = np.minimum(np.arange(256) / 255 * exposure.gain, 1.0)
    curved = light + (exposure.contrast - 1) * (light * light * (3 - 2 * light) - light)
    levels = curved * (255 - 2 * NOISE_LIMIT) + NOISE_LIMIT + 0.5
    return bytes(np.clip(levels, NOISE_LIMIT, 255 - NOISE_LIMIT).astype(np.uint8))


@lru_cache(maxsize=9)  # about 0.7 MB each at 480x360
def noise_bank(pixels: int, sigma: float, warmth: int) -> NDArray[np.uint8]:
    """Bell-shaped noise as wrapping bytes for a frame at any of 2^16 offsets, RGB by RGB.

    The sum of four uniform integers is close to normal and, unlike a normal, bounded and exact.
    The white balance rides on it: a warm picture has more red and less blue.
    """
    rng = np.random.default_rng(77)
    shape = (4, pixels + (1 << 16), 3)
    total = rng.integers(-64, 65, shape, dtype=np.int8).sum(axis=0, dtype=np.int16)
    scaled = np.rint(total * np.float32(sigma / 74.5))  # σ of the sum: 2 sqrt((129² - 1) / 12)
    scaled += np.float32(warmth) * np.array([3, 0, -3], np.float32)
    noise: NDArray[np.int8] = np.clip(scaled, -NOISE_LIMIT, NOISE_LIMIT).astype(np.int8)
    return noise.view(np.uint8).ravel()


def _mean(
    a: NDArray[np.uint8], b: NDArray[np.uint8], out: NDArray[np.uint8], spare: NDArray[np.uint8]
) -> None:
    """(a + b) // 2 in bytes: what both share, and half of what differs; `out` is neither."""
    np.bitwise_xor(a, b, out=spare)
    np.right_shift(spare, 1, out=spare)
    np.bitwise_and(a, b, out=out)
    np.add(out, spare, out=out)
