"""Splat and blur of rows of classes on the GPU, and the pairwise terms made of it."""

from __future__ import annotations

from crf.cuda_lattice import CHUNK, ROOM, CudaLattice
from engines.device import THREADS, Buffer, Device, Kernels
from engines.kernels import KernelSource

MERGING_BLOCKS = 256  # at most, enough to fill a large GPU; each takes every 256th long row


class RowFilter:
    """Sums over a lattice's vertices of rows of `classes` numbers, one row per pixel.

    A row takes `floats` floats in memory: `classes`, rounded up to whole packs (row.cuh).
    """

    def __init__(self, device: Device, lattice: CudaLattice, classes: int) -> None:
        self._device, self._lattice = device, lattice
        self.kernels = Kernels(device, mean_field(classes))
        self.floats, self.lanes = row_floats(classes), lanes(classes)
        self._partials = self._rows(2 * lattice.entries // CHUNK + 1)
        self._values: Buffer
        self._blurred: Buffer
        self._capacity = 0

    def reserve(self) -> None:
        """Make room for as many vertices as the lattice has room for."""
        if self._capacity >= self._lattice.capacity:
            return
        if self._capacity:
            self._device.free(self._values)
            self._device.free(self._blurred)
        self._capacity = self._lattice.capacity
        self._values, self._blurred = self._rows(self._capacity), self._rows(self._capacity)

    def splat_and_blur(self, rows: Buffer) -> Buffer:
        """Pixel rows [N] to vertex rows [M], valid until the next call."""
        self._splat(rows)
        for axis in range(self._lattice.corners):
            self._blur(axis)
        return self._values

    def _rows(self, count: int) -> Buffer:
        return self._device.allocate(4 * self.floats * count)

    def _splat(self, rows: Buffer) -> None:
        lattice = self._lattice
        merging = min(MERGING_BLOCKS, lattice.entries // CHUNK + 1)
        self.kernels(
            "splat", lattice.chunks * self.lanes, rows, lattice.row_pixel, lattice.row_weight,
            lattice.chunk_first, lattice.chunk_end, lattice.chunk_target, lattice.counters,
            self._values, self._partials,
        )  # fmt: skip
        self.kernels(
            "merge", merging * THREADS, self._partials, lattice.row_start,
            lattice.long_row, lattice.counters, self._values,
        )  # fmt: skip

    def _blur(self, axis: int) -> None:
        lattice = self._lattice
        self.kernels(
            "blur", lattice.vertices * self.lanes, self._values, lattice.before, lattice.after,
            lattice.vertices, axis, self._blurred,
        )  # fmt: skip
        self._values, self._blurred = self._blurred, self._values


class PairwiseTerm:
    """One weighted term w n K n of the energy over the pixels' lattice."""

    def __init__(self, device: Device, lattice: CudaLattice, classes: int, weight: float) -> None:
        self.lattice = lattice
        self.scale = weight * lattice.alpha
        self._mass, self._messages = (RowFilter(device, lattice, n) for n in (1, classes))
        self._ones = device.allocate(4 * lattice.pixels)
        lattice.fill_ones(self._ones)

    def build(self, kernel: str, *points: Buffer | int | float) -> None:
        """The lattice of a frame, see `CudaLattice.build`, with n folded into its weights."""
        self._build(kernel, *points)
        self._messages.reserve()

    def build_once(self, kernel: str, *points: Buffer | int | float) -> None:
        """The same for a lattice that never changes: keeps less memory."""
        self._build(kernel, *points)
        self.lattice.freeze()
        self._messages.reserve()

    def _build(self, kernel: str, *points: Buffer | int | float) -> None:
        self.lattice.build(kernel, *points)
        self._mass.reserve()
        self.lattice.gather()
        self.lattice.normalise(self._mass.splat_and_blur(self._ones))

    def messages(self, marginals: Buffer) -> Buffer:
        """Vertex rows, for `update` to slice."""
        return self._messages.splat_and_blur(marginals)


def mean_field(classes: int) -> KernelSource:
    """The kernels for a number of classes, which is fixed when they are compiled."""
    return KernelSource.read(ROOM / "mean_field.cu", CLASSES=classes)


def row_floats(classes: int) -> int:
    """Floats of a row in memory, WIDTH * PACKS of row.cuh."""
    return 1 if classes == 1 else -(-classes // 4) * 4


def lanes(classes: int) -> int:
    """Lanes that work on a row, LANES of row.cuh: the power of two from PACKS on, at most 32."""
    return min(1 << (-(-classes // 4) - 1).bit_length(), 32)
