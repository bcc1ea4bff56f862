"""`TemporalEvidence` on an NVIDIA GPU: the same scores to the bit, without leaving the device."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from crf import motion
from crf.temporal import CUT, SHARES, STEPS, WEIGHTS
from engines.device import Buffer, Device, Kernels, uploaded
from engines.kernels import KernelSource

NEVER = 2**31 - 1  # more than any sum of shares


def source() -> KernelSource:
    """The kernels; the oracle's bits need separate multiplications and additions."""
    return KernelSource.read(Path(__file__).with_name("temporal.cu"), contract=False)


class CudaTemporalEvidence:
    """The memory of one stream whose logits are [C, h, w]; see `crf.temporal`.

    All memory is allocated here: two maps of logits, a small picture, and a source and a weight for
    each cell.

    Args:
        device: Where all of it lies.
        shape: C, h, w.
    """

    def __init__(self, device: Device, shape: tuple[int, int, int]) -> None:
        self._device, self._shape = device, shape
        self._kernels = Kernels(device, source())
        self._cells = shape[1] * shape[2]
        self._enough = math.ceil(CUT * STEPS * self._cells)
        moves = np.array(motion.STEPS, np.int32)
        self._moves, self._weights, self._shares = (
            uploaded(device, table) for table in (moves, WEIGHTS, SHARES)
        )
        self._scores, self._past = (device.allocate(4 * math.prod(shape)) for _ in range(2))
        self._counters, self._past_counters = (device.allocate(8) for _ in range(2))
        self._picture = device.allocate(3 * self._cells)
        self._source, self._weight = (device.allocate(4 * self._cells) for _ in range(2))
        self._follows = False
        self._kernels("clear_counters", 2, self._past_counters)

    def update(self, picture: Buffer, logits: Buffer) -> Buffer:
        """The scores of a frame, float32 [C, h, w], to be read until the next update.

        A cut starts anew by itself, and logits with NaN or infinity are not remembered, as in
        `TemporalEvidence.update`.

        Args:
            picture: uint8 [h, w, 3], the frame fitted to the grid.
            logits: float32 [C, h, w].
        """
        classes, height, width = self._shape
        count = classes * self._cells
        self._kernels("clear_counters", 2, self._counters)
        self._kernels("find_broken", count, logits, count, self._counters)
        if self._follows:
            self._kernels(
                "weigh_cells", self._cells, self._picture, picture, height, width, self._moves,
                len(motion.STEPS), motion.STAY // motion.CODE, self._weights, self._shares,
                self._source, self._weight, self._counters,
            )  # fmt: skip
        self._kernels(
            "mix_scores", count, logits, self._past, self._source, self._weight, self._counters,
            self._past_counters, self._enough if self._follows else NEVER, classes, self._cells,
            self._scores,
        )  # fmt: skip
        self._kernels("keep_picture", 3 * self._cells, picture, 3 * self._cells, self._picture)
        self._scores, self._past = self._past, self._scores
        self._counters, self._past_counters = self._past_counters, self._counters
        self._follows = True
        return self._past

    def forget(self) -> None:
        """The next frame does not follow the last one."""
        self._follows = False
