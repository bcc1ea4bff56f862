"""What lens and sensor do to the drawn picture: a slight blur, exposure and colour, noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scenes.dataset import Frame, Labels
from scenes.street_texture import Texels

NOISE_LIMIT = 9  # grey levels; tones keep this distance from 0 and 255, so adding bytes never wraps


@dataclass(frozen=True)
class Exposure:
    """How the sensor was set: `gain` before the curve, contrast, white balance, noise (σ, grey
    levels)."""

    gain: float = 1.0
    contrast: float = 1.15
    warmth: float = 0.0  # -1 cold .. 1 warm
    noise: float = 2.2


class Optics:
    """Turns drawn texels into a frame; holds its tone table, its noise and its buffers."""

    def __init__(self, height: int, width: int, exposure: Exposure, seed: int) -> None:
        self._shape = (height, width)
        self._table = tone_table(exposure)
        self._noise = noise_bank(height * width * 3, exposure.noise, seed)
        self._spare = np.empty((2, height * width * 3), np.uint8)

    def expose(self, texels: Texels, index: int) -> Frame:
        """The frame [H, W, 3] of a drawn canvas; `index` picks the noise."""
        height, width = self._shape
        picture = Image.frombuffer("RGBX", (width, height), texels, "raw", "RGBX", 0, 1)
        toned = picture.convert("RGB").point(self._table)
        frame = np.frombuffer(bytearray(toned.tobytes()), np.uint8)
        for step in (3, 3 * width):
            self._blur(frame, step)
        start = index * 7919 % (self._noise.size - frame.size)
        frame += self._noise[start : start + frame.size]
        return frame.reshape(height, width, 3)

    def _blur(self, frame: NDArray[np.uint8], step: int) -> None:
        """Weights 1 2 1 along one axis: the mean of the means with either neighbour.

        The last row or column keeps its value; lines wrap into each other by one pixel.
        """
        pairs, spare = self._spare
        size = frame.size - step
        _mean(frame[step:], frame[:size], pairs[:size], spare[:size])
        inner = size - step
        _mean(pairs[step:size], pairs[:inner], frame[step : step + inner], spare[:inner])


def labels_of(texels: Texels) -> Labels:
    """The labels [H, W] of a drawn canvas."""
    return texels.view(np.uint8).reshape(*texels.shape, 4)[..., 3].copy()


def tone_table(exposure: Exposure) -> list[int]:
    """256 output levels for each of R, G, B: gain, white balance, then a contrast curve."""
    level = np.arange(256) / 255
    table = []
    for shift in (0.07, 0.0, -0.07):
        light = np.minimum(level * exposure.gain * (1 + shift * exposure.warmth), 1.0)
        curved = light + (exposure.contrast - 1) * (light * light * (3 - 2 * light) - light)
        span = 255 - 2 * NOISE_LIMIT
        table += np.clip(curved * span + NOISE_LIMIT + 0.5, NOISE_LIMIT, 255 - NOISE_LIMIT).tolist()
    return [int(value) for value in table]


def noise_bank(size: int, sigma: float, seed: int) -> NDArray[np.uint8]:
    """Bell-shaped noise around 0 as wrapping bytes, enough for a frame at any of 2^16 offsets.

    The sum of four uniform integers is close to normal and, unlike a normal, bounded and exact.
    """
    rng = np.random.default_rng([seed, 77])
    total = rng.integers(-64, 65, (4, size + (1 << 16)), dtype=np.int16).sum(axis=0, dtype=np.int32)
    scaled = np.rint(total * (sigma / 74.5))  # σ of the sum: 2 x sqrt((129² - 1) / 12)
    return np.clip(scaled, -NOISE_LIMIT, NOISE_LIMIT).astype(np.int8).view(np.uint8)


def _mean(
    a: NDArray[np.uint8], b: NDArray[np.uint8], out: NDArray[np.uint8], spare: NDArray[np.uint8]
) -> None:
    """(a + b) // 2 in bytes: what both share, and half of what differs. `out` must not be a or b."""
    np.bitwise_xor(a, b, out=spare)
    np.right_shift(spare, 1, out=spare)
    np.bitwise_and(a, b, out=out)
    np.add(out, spare, out=out)
