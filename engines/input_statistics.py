"""How bright and how coloured calibration frames were, to compare a camera's frames with.

A frame becomes three curves: which share of its pixels lies at or below each level of brightness,
of red against green, and of yellow against blue. Calibration keeps the band in which the frames'
curves lay; a live frame's excess is how far its curves leave the band: 0.3 says that 30 % of its
pixels are, say, darker than that share of pixels ever was in calibration. The colours are relative
to the frame's own brightness, so a darker exposure alone is no other colour.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.failures import MALFORMED, Refused

FORMAT = 1
STEP = 8  # every 8th pixel of every 8th row: 2700 of 480x360
LEVELS = 32
REACH = 1.0  # colour differences of this many times the mean brightness are the outermost level
TAIL = 2.0  # percent of the frames on each side that do not widen the band: one odd frame, or two

Curves = NDArray[np.float64]  # [3, LEVELS], each row rising to 1


def curves(frame: NDArray[np.uint8]) -> Curves:
    """The three curves of an RGB frame [H, W, 3] of any size."""
    sample = frame[STEP // 2 :: STEP, STEP // 2 :: STEP].reshape(-1, 3).astype(np.float32)
    red, green, blue = sample.T
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    unit = LEVELS / (2 * REACH * (float(luma.mean()) + 1))
    places = np.stack(
        [
            luma * (LEVELS / 256),
            (red - green) * unit + LEVELS / 2,
            ((red + green) / 2 - blue) * unit + LEVELS / 2,
        ]
    )
    levels = np.clip(places, 0, LEVELS - 1).astype(np.intp)
    levels += np.arange(3)[:, None] * LEVELS
    counts = np.bincount(levels.ravel(), minlength=3 * LEVELS).reshape(3, LEVELS)
    return np.asarray(np.cumsum(counts, axis=1) / len(sample))


def mean_brightness(live: Curves) -> float:
    """The mean of the brightness levels, 0 to 255, to half a level (4 grey values)."""
    return float((LEVELS - 0.5 - live[0, :-1].sum()) * 256 / LEVELS)


@dataclass(frozen=True)
class Excess:
    """Shares of pixels, 0 to 1, by which curves leave the band; one of the first two is 0."""

    darker: float
    brighter: float
    colours: float


@dataclass(frozen=True)
class InputStatistics:
    """The band of the calibration frames' curves; `low` and `high` are [3][LEVELS].

    `brightness` is the lowest and highest mean brightness of a frame, without the tails.
    """

    frames: int
    brightness: tuple[float, float]
    low: list[list[float]]
    high: list[list[float]]
    format: int = FORMAT

    def excess(self, live: Curves) -> Excess:
        """How far curves, of one frame or the mean of several, lie outside the band.

        Of too dark and too bright only the larger counts: a flat picture has some of both.
        """
        above, below = live - np.array(self.high), np.array(self.low) - live
        darker, brighter = max(0.0, float(above[0].max())), max(0.0, float(below[0].max()))
        colours = max(0.0, float(above[1:].max()), float(below[1:].max()))
        if darker >= brighter:
            return Excess(darker, 0.0, colours)
        return Excess(0.0, brighter, colours)

    def to_json(self) -> dict[str, Any]:
        """JSON data."""
        return dataclasses.asdict(self)

    @staticmethod
    def from_json(text: bytes | str) -> InputStatistics:
        """Read what `to_json` gave; anything else raises `Refused`."""
        try:
            data: dict[str, Any] = json.loads(text)
            dark, bright = data["brightness"]
            low, high = (np.asarray(data[band], float) for band in ("low", "high"))
            if data["format"] != FORMAT or {low.shape, high.shape} != {(3, LEVELS)}:
                raise ValueError(f"format {data['format']}, curves {low.shape} and {high.shape}")
            if not np.isfinite([*low.flat, *high.flat, float(dark), float(bright)]).all():
                raise ValueError("not all of its numbers are finite")
            parsed = {"frames": int(data["frames"]), "brightness": (float(dark), float(bright))}
            result = InputStatistics(
                **{**data, **parsed, "low": low.tolist(), "high": high.tolist()}
            )
        except MALFORMED as error:
            raise Refused(
                f"the calibration frames' statistics are not valid ({error}): build the bundle "
                "again with --data"
            ) from error
        return result


def input_statistics(frames: Iterable[NDArray[np.uint8]]) -> InputStatistics:
    """The band of some frames [H, W, 3], which are taken one at a time; none raise `Refused`."""
    every = [curves(frame) for frame in frames]
    if not every:
        raise Refused("there is no calibration frame: give frames like the device's with --data")
    low, high = (np.percentile(every, side, axis=0) for side in (TAIL, 100 - TAIL))
    dark, bright = np.percentile([mean_brightness(item) for item in every], [TAIL, 100 - TAIL])
    return InputStatistics(
        frames=len(every),
        brightness=(round(float(dark), 1), round(float(bright), 1)),
        low=np.round(low, 4).tolist(),
        high=np.round(high, 4).tolist(),
    )
