"""`TemporalEvidence`: steadier class scores on video, from what the frames before said.

The scores of frame t are mixed with those carried over from frame t-1, cell by cell on the logits'
own grid (stride 4):

    S_t(i) = L_t(i) + w_t(i) (S_{t-1}(m(i)) - L_t(i)),     0 <= w_t <= MEMORY

with m(i) the cell that i was one frame ago (`crf.motion`) and w_t falling from `MEMORY` to 0 as the
colour of the two cells differs by `SAME` to `CHANGED` levels. It is a running mean of the
log-probabilities: that logits lack a constant per cell changes neither softmax nor arg max, also
after interpolation. Unlike L + λ log Q it does not grow more confident than the network ever was,
so CRF settings stay right.

A frame's say shrinks by `MEMORY` with each later one. Where the scores were for one label by a
margin M and every new frame is for another by m, the label turns after the first
n > ln(1 + M/m) / ln(1/MEMORY) frames: 4 for M = m, 11 for M = 10 m. Nothing older is kept.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from crf.motion import Picture, sources
from engines.preprocess import fit_frame

# Chosen on CamVid val and street frames; docs/crf.md has the table.
MEMORY = 0.8  # a running mean of about 1 / (1 - MEMORY) = 5 frames
SAME = 2  # levels of 255: a cell is a mean of 16 pixels or more, whose noise differs by 1
CHANGED = 6  # levels
# Mean weight over a frame, as a share of MEMORY, below which it is a cut. Seen: at least 0.43
# within a clip, also with two of three frames dropped; at most 0.10 between unrelated clips.
CUT = 0.25

Floats = NDArray[np.float32]

# By the largest difference of the colours: the weight in whole steps from 0 to MEMORY, and itself.
STEPS = CHANGED - SAME
SHARES = np.clip(CHANGED - np.arange(256), 0, STEPS).astype(np.int32)
WEIGHTS = (MEMORY * (SHARES / STEPS)).astype(np.float32)


class TemporalEvidence:
    """The memory of one stream; use one for each, and `forget` where frames do not follow.

    Memory: two maps of logits and one small picture.
    """

    def __init__(self) -> None:
        self._scores: Floats | None = None  # [C, h, w]
        self._picture: Picture | None = None  # [3, h, w]
        self._past: Floats = np.empty(0, np.float32)  # kept for its memory, not for its content
        self._frame_shape: tuple[int, ...] = ()

    def update(self, frame: NDArray[np.uint8], logits: NDArray[np.floating]) -> Floats:
        """The scores of this frame, steadied by those before it.

        A cut or another size starts anew by itself. Logits with NaN or infinity come back as they
        are, and are forgotten: they must not live on.

        Args:
            frame: uint8 [H, W, 3] RGB of any size, at least the grid's.
            logits: floating [C, h, w].

        Returns:
            float32 [C, h, w], kept as the next frame's past: read it, do not write to it.
        """
        scores = logits.astype(np.float32)  # a copy, since an engine may reuse its buffer
        if not np.isfinite(scores).all():
            self.forget()
            return scores
        small = fit_frame(frame, (scores.shape[1], scores.shape[2]))
        picture = np.ascontiguousarray(small.transpose(2, 0, 1))
        if self._frame_shape == frame.shape:
            self._add_past(picture, scores)
        self._scores, self._picture, self._frame_shape = scores, picture, frame.shape
        return scores

    def forget(self) -> None:
        """The next frame does not follow the last one."""
        self._scores = self._picture = None
        self._frame_shape = ()

    def _add_past(self, picture: Picture, scores: Floats) -> None:
        """Mix the past into `scores`, in place, unless it is of another grid or scene."""
        if self._scores is None or self._picture is None or self._scores.shape != scores.shape:
            return
        cells = sources(self._picture, picture)
        weights = _weights(np.take(self._picture.reshape(3, -1), cells, axis=1), picture)
        if weights.mean() < CUT * MEMORY:
            return
        if self._past.shape != scores.shape:
            self._past = np.empty_like(scores)
        past = self._past
        flat = self._scores.reshape(len(scores), -1)
        np.take(flat, cells, axis=1, out=past, mode="clip")  # "raise" would buffer `out`
        past -= scores
        past *= weights
        scores += past


def _weights(before: Picture, after: Picture) -> Floats:
    """The past's share of each cell, [h, w], from the largest difference of the three colours."""
    difference = np.maximum(before, after)
    difference -= np.minimum(before, after)
    return np.asarray(np.take(WEIGHTS, difference.max(axis=0)))
