"""Flicker: labels that change between two frames where the picture does not.

A pixel is still from frame t-1 to t if, in every channel, the 3x3 mean of I_t - I_{t-1}, less the
frame's own median (exposure drift, at most `DRIFT` levels), stays below `STILL` levels, and the
same is true of all pixels within `MARGIN` of it (the last row and column are repeated beyond the
frame). With labels x_t,

    flicker = 100 * sum_t |{i still, x_t(i) != x_{t-1}(i)}| / sum_t |{i still}|      percent

The mean of nine keeps a sensor's noise out: two frames with a deviation of 3 levels differ by 1.4,
a third of `STILL`. The margin keeps out edges that a sub-pixel shake or a codec redraws.

A mask that never changes has no flicker at all, so the score means nothing alone: show it beside
mIoU, and beside `TurnoverScore`, which asks whether labels change where the truth does.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scenes.dataset import IGNORE, Frame, Labels

STILL = 5  # grey levels of 255
DRIFT = 8  # grey levels; a larger step of the whole frame is a change of the picture
MARGIN = 2  # pixels

Mask = NDArray[np.bool_]  # [H, W]


class FlickerScore:
    """Flicker of a stream; `add` its frames in order, `cut` where the next one does not follow."""

    def __init__(self) -> None:
        self._frame: Frame | None = None
        self._labels: Labels | None = None
        self._pixels = self._still = self._changed = 0

    def add(self, frame: Frame, labels: Labels) -> None:
        """Count a frame uint8 [H, W, 3] with its labels [H, W]; ignore is a label like others.

        A frame of another size than the one before starts anew.
        """
        if frame.shape != (*labels.shape, 3):
            raise ValueError(f"frame is {frame.shape} but labels are {labels.shape}")
        before, previous = self._frame, self._labels
        if before is not None and previous is not None and before.shape == frame.shape:
            still = unchanged(before, frame)
            self._pixels += still.size
            self._still += int(np.count_nonzero(still))
            self._changed += int(np.count_nonzero(still & (labels != previous)))
        self._frame, self._labels = frame.copy(), labels.copy()

    def cut(self) -> None:
        """The next frame is not compared with the last one."""
        self._frame = self._labels = None

    @property
    def still_pixels(self) -> int:
        """How many pixels were compared."""
        return self._still

    @property
    def still_percent(self) -> float:
        """Share of all pixels, but the first frame's, that were still; NaN without a pair."""
        return 100 * self._still / self._pixels if self._pixels else float("nan")

    @property
    def percent(self) -> float:
        """Share of the still pixels whose label changed; NaN where none was still."""
        return 100 * self._changed / self._still if self._still else float("nan")


class TurnoverScore:
    """Do labels follow where the truth changes? Over pixels whose true label differs from frame
    t-1 to t (neither is ignore): the share labelled as at t, and the share still labelled as at t-1
    (ghosts). The rest is labelled as something else.
    """

    def __init__(self) -> None:
        self._truth: Labels | None = None
        self._turned = self._followed = self._ghosts = 0

    def add(self, truth: Labels, labels: Labels) -> None:
        """Count a frame's truth and labels, both [H, W], in the order of the stream."""
        before = self._truth
        if before is not None and before.shape == truth.shape:
            turned = (truth != before) & (truth != IGNORE) & (before != IGNORE)
            self._turned += int(np.count_nonzero(turned))
            self._followed += int(np.count_nonzero(turned & (labels == truth)))
            self._ghosts += int(np.count_nonzero(turned & (labels == before)))
        self._truth = truth.copy()

    @property
    def followed_percent(self) -> float:
        """Share of the turned pixels that carry the new label; NaN where none turned."""
        return 100 * self._followed / self._turned if self._turned else float("nan")

    @property
    def ghost_percent(self) -> float:
        """Share of the turned pixels that carry the label from before; NaN where none turned."""
        return 100 * self._ghosts / self._turned if self._turned else float("nan")


def unchanged(before: Frame, after: Frame) -> Mask:
    """Where the picture is still, [H, W], from one frame uint8 [H, W, 3] to the next."""
    change = _mean_of_nine(after.astype(np.float32) - before)
    drift = np.clip(np.median(change, axis=(0, 1)), -DRIFT, DRIFT)
    still = (np.abs(change - drift) < STILL).all(axis=2)
    return _eroded(still)


def _mean_of_nine(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean over 3x3 pixels of [H, W, 3], the border repeated."""
    padded = np.pad(values, ((1, 1), (1, 1), (0, 0)), mode="edge")
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    return np.asarray((rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) / 9)


def _eroded(mask: Mask) -> Mask:
    """Where all pixels within `MARGIN`, in a square, are set; the border is repeated."""
    height, width = mask.shape
    padded = np.pad(mask, MARGIN, mode="edge")
    rows = np.logical_and.reduce([padded[k : k + height] for k in range(2 * MARGIN + 1)])
    result = np.logical_and.reduce([rows[:, k : k + width] for k in range(2 * MARGIN + 1)])
    return np.asarray(result)
