"""The pixel loops of engines/native and engines/pixels.cu in plain NumPy: the oracle for tests.

Each function has the name, arguments and result of the one in `engines.labels`, `engines.blend` or
`engines.preprocess`; nothing calls these in their place. Camera images become RGB in FFmpeg on the
CPU, so `rgb_of` has a counterpart in engines/pixels.cu alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from engines.stretch import Filter, Stretch

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
IMPOSSIBLE = np.float32(-1e30)  # stands for -inf, which interpolation with weight 0 makes NaN

# BT.601, luma 16 to 235: swscale's numbers for RGB -> YUV in 15 bits and back in 13.
TO_YUV = np.array([[8414, 16519, 3208], [-4865, -9528, 14392], [14392, -12061, -2332]])
LUMA, V_TO_RED, U_TO_GREEN, V_TO_GREEN, U_TO_BLUE = 9539, 13075, -3209, -6660, 16525


def taps(size: int, source: int) -> tuple[NDArray[np.intp], NDArray[np.intp], Floats]:
    """What each of `size` outputs reads from `source` inputs: low, high, and the weight of high."""
    position = np.clip((np.arange(size) + 0.5) * (source / size) - 0.5, 0, source - 1)
    low = np.floor(position).astype(np.intp)
    return low, np.minimum(low + 1, source - 1), (position - low).astype(np.float32)


def upsample(logits: Floats, size: tuple[int, int]) -> Floats:
    """Logits [C, h, w] -> [C, H, W], bilinear with align_corners=False."""
    logits = np.maximum(logits, IMPOSSIBLE)
    north, south, down = taps(size[0], logits.shape[1])
    west, east, across = taps(size[1], logits.shape[2])
    rows = logits[:, :, west] * (1 - across) + logits[:, :, east] * across
    return np.asarray(rows[:, north] * (1 - down[:, None]) + rows[:, south] * down[:, None])


def upsample_argmax(logits: Floats, size: tuple[int, int]) -> NDArray[np.uint8]:
    """The first class with the largest interpolated logit: uint8 [H, W]."""
    return np.asarray(upsample(logits, size).argmax(axis=0), np.uint8)


def upsample_softmax(logits: Floats, size: tuple[int, int]) -> Floats:
    """The softmax of the interpolated logits: [C, H, W]."""
    values = upsample(logits, size)
    powers = np.exp(values - values.max(axis=0))
    return np.asarray(powers / powers.sum(axis=0))


def blend(
    frame: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    palette: Sequence[tuple[int, int, int]],
    alpha: float = 0.5,
) -> NDArray[np.uint8]:
    """(1 - alpha) frame + alpha colour, rounded half up; labels without a colour stay clear."""
    painted = labels < len(palette)
    colours = np.asarray(palette, np.float64)[np.where(painted, labels, 0)]
    mixed = np.floor(frame * (1 - alpha) + colours * alpha + 0.5).astype(np.uint8)
    return np.where(painted[..., None], mixed, frame)


def fit_frame(frame: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """A frame [H, W, 3] stretched to `size` (height, width): see `engines.stretch`."""
    if frame.shape[:2] == size:
        return frame
    stretch = Stretch.of(size, (frame.shape[0], frame.shape[1]))
    pixels = frame.astype(np.int64)
    pairs = pixels[:, ::2] + pixels[:, 1::2] if stretch.paired else 2 * pixels
    luma = (pixels @ TO_YUV[0] + (32 << 14) + (1 << 8)) >> 9
    chroma = [(pairs @ row + (256 << 15) + (1 << 9)) >> 10 for row in TO_YUV[1:]]
    across = [_across(luma, stretch.luma), *(_across(plane, stretch.chroma) for plane in chroma)]
    y, u, v = (_down(plane, stretch.rows) for plane in across)
    return _rgb(y - (16 << 9), u - (128 << 9), v - (128 << 9), 22)


def rgb_of(camera: NDArray[np.uint8], form: str, size: tuple[int, int]) -> NDArray[np.uint8]:
    """RGB [H, W, 3] of a camera image of `size`, rows with their padding: uint8 [rows, stride].

    `form` is rgb, bgr, yuyv (Y U Y V for two pixels) or nv12 (rows of Y, then half as many of UV).
    Each pixel has the colour difference that was stored for it: none is interpolated.
    """
    height, width = size
    if form in ("rgb", "bgr"):
        packed = camera[:height, : 3 * width].reshape(height, width, 3)
        return np.ascontiguousarray(packed if form == "rgb" else packed[..., ::-1])
    if form == "yuyv":
        pairs = camera[:height, : 4 * -(-width // 2)].reshape(height, -1, 4)
        luma, chroma = pairs[..., ::2].reshape(height, -1), pairs[..., 1::2]
    else:
        luma = camera[:height]
        chroma = camera[height:, : 2 * -(-width // 2)].reshape(-1, -(-width // 2), 2)
        chroma = chroma.repeat(2, axis=0)[:height]
    u, v = (chroma.repeat(2, axis=1)[:, :width, plane].astype(np.int64) - 128 for plane in (0, 1))
    return _rgb(luma[:, :width].astype(np.int64) - 16, u, v, 13)


def _across(plane: Integers, taps: Filter) -> Integers:
    """Rows of 14-bit values [H, n] -> [H, w], 15 bits."""
    sums = (plane[:, taps.read(plane.shape[1])] * taps.weight).sum(axis=2)
    return np.asarray(np.minimum(sums >> 13, (1 << 15) - 1))


def _down(plane: Integers, taps: Filter) -> Integers:
    """Columns of 15-bit values [H, w] -> [h, w], 17 bits; more than two are rounded, no fewer."""
    sums = (plane[taps.read(plane.shape[0])] * taps.weight[..., None]).sum(axis=1)
    return np.asarray((sums + (1 << 9 if taps.reach > 2 else 0)) >> 10)


def _rgb(y: Integers, u: Integers, v: Integers, bits: int) -> NDArray[np.uint8]:
    """Luma above black and colour differences around 0, in units of 2^(13 - bits) -> RGB."""
    luma = LUMA * y + (1 << (bits - 1))
    green = luma + U_TO_GREEN * u + V_TO_GREEN * v
    planes = np.stack([luma + V_TO_RED * v, green, luma + U_TO_BLUE * u], axis=-1)
    return np.asarray(np.clip(planes >> bits, 0, 255), np.uint8)
