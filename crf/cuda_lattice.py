"""The permutohedral lattice on the GPU: vertices, neighbours, and each vertex's row of entries.

The kernels are in lattice.cu and rows.cu. All memory is kept; it grows, once, when a frame has more
vertices than any before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crf.permutohedral import REACH, too_fine
from engines.device import THREADS, Buffer, Device, Kernels, uploaded
from engines.failures import UsageError
from engines.kernels import KernelSource

ROOM = Path(__file__).parent
CHUNK, TILE, DIGIT_BITS = 64, 2048, 8  # as in rows.cu
VERTICES, OVERFLOWS = 0, 1  # places in `counters`, as in counters.cuh
FEWEST = 64  # vertices that there is always room for
EXPECTED = 4  # pixels per vertex at first: 2 to 30 on photographs at DeepLab's settings


@dataclass(frozen=True)
class Packing:
    """How the points are scaled and a vertex's d coordinates become one key of 63 bits.

    scale: float32 [d], to lattice units. low, stride: int64 [d], a key is the sum over the
    coordinates of (c - low) * stride. step: int64 [d + 1], what a step along an axis adds to it.
    """

    scale: NDArray[np.float32]
    low: NDArray[np.int64]
    stride: NDArray[np.int64]
    step: NDArray[np.int64]

    @staticmethod
    def of(extents: Sequence[float]) -> Packing:
        """For all points with coordinates from 0 to `extents`, so no frame can break it.

        Raises:
            UsageError: Such points spread over more lattice steps than can be told apart.
        """
        d = len(extents)
        axis = np.arange(1, d + 1)
        deviation = np.float32(np.sqrt(2 / 3) * (d + 1))  # the oracle's, to the bit
        scale = (1 / np.sqrt(axis * (axis + 1)) * deviation).astype(np.float32)
        most = np.asarray(extents, np.float64) * scale
        if max(most.sum(), (axis * most).max()) >= REACH:
            raise UsageError(too_fine(f"coordinates beyond {REACH} lattice steps"))
        high = np.ceil(np.cumsum(most[::-1])[::-1]).astype(np.int64)  # of elevated points
        low = np.floor(np.append(0, -(axis * most)[:-1])).astype(np.int64)
        reach = 2 * d + 2  # to a corner less than d + 1 away, to its neighbour d on, and rounding
        spans = [int(span) for span in high - low + 2 * reach + 1]
        strides = [1]
        for span in spans:
            strides.append(strides[-1] * span)
        if strides[-1] >= 2**63:
            raise UsageError(too_fine("coordinates of more than 63 bits"))
        stride = np.array(strides[:-1])
        return Packing(scale, low - reach, stride, (d + 1) * np.append(stride, 0) - stride.sum())


class CudaLattice:
    """The lattice of the pixels of one size, rebuilt for each frame by `build`.

    An entry is a corner of a pixel's simplex, pixel * (d + 1) + remainder; E of them.

    Attributes:
        entry_vertex, entry_weight: Each entry's vertex, int32 [E], and weight, float32 [E].
        before, after: int32 [d + 1, M], each vertex's neighbours along each axis, -1 for none.
        row_pixel, row_weight: The entries sorted by vertex, int32 [E] and float32 [E].
        row_start: int32 [M + 1], where a vertex's entries start.
        chunk_first, chunk_end, chunk_target, long_row: The chunks of the rows, see rows.cu.
        vertices: M of the last build.
        capacity: The vertices that there is room for.
    """

    def __init__(self, device: Device, packing: Packing, pixels: int) -> None:
        self._device, self._packing, self.pixels = device, packing, pixels
        self.dimensions = len(packing.low)
        self.corners = self.dimensions + 1
        self.entries = pixels * self.corners
        self._kernels = Kernels(device, KernelSource.read(ROOM / "lattice.cu", contract=False))
        self._rows = Kernels(device, KernelSource.read(ROOM / "rows.cu"))
        self._scale, self._low, self._stride, self._step = (
            uploaded(device, values)
            for values in (packing.scale, packing.low, packing.stride, packing.step)
        )
        self.entry_vertex, self.entry_weight = self._words(self.entries), self._words(self.entries)
        self._key, self._spare_key = self._words(self.entries), self._words(self.entries)
        self._entry, self._spare_entry = self._words(self.entries), self._words(self.entries)
        self._tiles = -(-self.entries // TILE)
        self._digits, self._totals = self._words(self._tiles << DIGIT_BITS), self._words(THREADS)
        self.counters = self._words(4)
        self.long_row = self._words(self.entries // CHUNK + 1)
        self._reserve(max(pixels // EXPECTED, FEWEST))
        self.vertices = 0

    def build(self, kernel: str, *points: Buffer | int | float) -> None:
        """Find all vertices of the points that an embedding kernel makes of its first arguments."""
        while not self._insert(kernel, points):
            self._release()
            self._reserve(min(2 * self.capacity, self.entries))  # no more than corners
        self._sort()
        self._cut_rows()
        self._link()

    def freeze(self) -> None:
        """Give back what only `build` needs: this lattice stays as it is."""
        for buffer in (
            self._slot_key, self._slot_vertex, self._vertex_key, self._key, self._entry,
            self._digits, self._totals,
        ):  # fmt: skip
            self._device.free(buffer)
        self.capacity = self.vertices

    def gather(self) -> None:
        """Bring the entries' weights into rows."""
        self._rows(
            "gather_entries", self.entries, self._entry, self.entry_weight, self.entries,
            self.corners, self.row_pixel, self.row_weight,
        )  # fmt: skip

    def fill_ones(self, ones: Buffer) -> None:
        """Fill float32 [N] with 1."""
        self._rows("fill_ones", self.pixels, ones, self.pixels)

    def normalise(self, mass: Buffer) -> None:
        """Fold n = 1 / sqrt(K 1) into the weights; mass is ones splatted and blurred."""
        self._rows(
            "normalise", self.pixels, mass, self.entry_vertex, self.pixels, self.corners,
            self.alpha, self.entry_weight,
        )  # fmt: skip
        self.gather()

    @property
    def alpha(self) -> float:
        """The constant factor of splat, blur and slice together."""
        return float(np.float32(1 / (1 + 2.0**-self.dimensions)))

    @property
    def chunks(self) -> int:
        """At least the number of chunks."""
        return self.vertices + self.entries // CHUNK

    # The spare buffers of the sort, of which nothing is needed afterwards.
    @property
    def row_pixel(self) -> Buffer:
        return self._spare_key

    @property
    def row_weight(self) -> Buffer:
        return self._spare_entry

    def _words(self, count: int) -> Buffer:
        return self._device.allocate(4 * count)

    def _reserve(self, capacity: int) -> None:
        """Make room for `capacity` vertices, in a table at most half full."""
        self.capacity, self._slots = capacity, 1 << (2 * capacity - 1).bit_length()
        chunks = capacity + self.entries // CHUNK
        self._slot_key: Buffer = self._device.allocate(8 * self._slots)
        self._slot_vertex: Buffer = self._words(self._slots)
        self._vertex_key: Buffer = self._device.allocate(8 * capacity)
        self.before, self.after = (self._words(self.corners * capacity) for _ in range(2))
        self.row_start = self._words(capacity + 1)
        self.chunk_first, self.chunk_end, self.chunk_target = (
            self._words(chunks) for _ in range(3)
        )

    def _release(self) -> None:
        for buffer in (
            self._slot_key, self._slot_vertex, self._vertex_key, self.before, self.after,
            self.row_start, self.chunk_first, self.chunk_end, self.chunk_target,
        ):  # fmt: skip
            self._device.free(buffer)

    def _insert(self, kernel: str, points: Sequence[Buffer | int | float]) -> bool:
        """Embed all pixels; false if there are more vertices than room."""
        self._kernels("clear_table", self._slots, self._slot_key, self._slots, self.counters)
        self._kernels(
            kernel, self.pixels, *points, self._scale, self._low, self._stride, self._slot_key,
            self._slot_vertex, self._vertex_key, self.counters, self._slots, self.capacity,
            self.entry_vertex, self.entry_weight,
        )  # fmt: skip
        counters = np.empty(4, np.int32)
        self._device.download(self.counters, counters)
        self.vertices = int(counters[VERTICES])
        return not counters[OVERFLOWS]

    def _sort(self) -> None:
        """Sort the entries by vertex, stably, by DIGIT_BITS bits at a time."""
        self._kernels(
            "name_corners", self.entries, self._slot_vertex, self.entries, self.entry_vertex,
            self._key, self._entry,
        )  # fmt: skip
        threads = self._tiles * THREADS
        for shift in range(0, max((self.vertices - 1).bit_length(), 1), DIGIT_BITS):
            self._rows("count_digits", threads, self._key, self.entries, shift, self._digits)
            self._rows(
                "scan_digits", THREADS << DIGIT_BITS, self._digits, self._tiles, self._totals
            )
            self._rows(
                "scatter_digits", threads, self._key, self._entry, self.entries, shift,
                self._digits, self._totals, self._spare_key, self._spare_entry,
            )  # fmt: skip
            self._key, self._spare_key = self._spare_key, self._key
            self._entry, self._spare_entry = self._spare_entry, self._entry

    def _cut_rows(self) -> None:
        self._rows("find_rows", self.entries, self._key, self.entries, self.row_start)
        self._rows(
            "cut_rows", self.entries, self._key, self.row_start, self.entries, self.counters,
            self.chunk_first, self.chunk_end, self.chunk_target, self.long_row,
        )  # fmt: skip

    def _link(self) -> None:
        pairs = self.corners * self.vertices
        self._kernels("forget", pairs, self.before, pairs)
        self._kernels(
            "link_neighbours", pairs, self._vertex_key, self.vertices, self.corners, self._step,
            self._slot_key, self._slot_vertex, self._slots, self.before, self.after,
        )  # fmt: skip
