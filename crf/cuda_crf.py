"""The dense CRF on an NVIDIA GPU: the oracle's semantics, the same bits on every run."""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from crf.cuda_filter import PairwiseTerm, lanes, mean_field, row_floats
from crf.cuda_lattice import CudaLattice, Packing
from crf.permutohedral import Floats
from crf.unary import LEAST_PROBABILITY, not_finite
from engines.device import Buffer, Device, Kernels, open_device
from engines.spec import CrfParams

MOST_SURPRISE = float(-np.log(LEAST_PROBABILITY))


class CudaCrf:
    """Mean-field inference for frames of one size; the facade `DenseCrf` states the model.

    Kernels are compiled on first use. Memory is allocated here and by the first frame; later only
    for a frame with more lattice vertices, or larger logits, than any before. At (4,49,5 | 3,3) it
    is 290 bytes a pixel and 16 a pixel and class, 193 MB at 640x480 with 21 classes; each vertex
    beyond one for four pixels adds 120 bytes and 8 a class.

    Args:
        size: Height and width of the frames.
        classes: C, 1 to 254.
        params: Weights and widths.
        device: The GPU; None opens one of its own, which `close` closes.

    Raises:
        DeviceMissing: No GPU, binding or compiler can be used here.
        UsageError: A sigma too small for a lattice over frames of this size.
    """

    def __init__(
        self, size: tuple[int, int], classes: int, params: CrfParams, device: Device | None = None
    ) -> None:
        appearance, smoothness = _packings(size, params)
        self._size, self._classes, self._params = size, classes, params
        self._pixels = size[0] * size[1]
        self._device, self._owned = device or open_device(), device is None
        self._kernels = Kernels(self._device, mean_field(classes))
        self._row_bytes, self._lanes = 4 * row_floats(classes), lanes(classes)
        self._frame = self._device.allocate(3 * self._pixels)
        self._labels = self._device.allocate(self._pixels)
        self._unary, self._marginals = (
            self._device.allocate(self._pixels * self._row_bytes) for _ in range(2)
        )
        self._scores = _Scores(self._device)
        self._appearance = self._term(appearance, params.w1)
        self._smoothness = self._term(smoothness, params.w2)
        if self._smoothness:  # the same for every frame
            self._smoothness.build_once(
                "embed_positions", size[1], self._pixels, float(params.sigma_gamma)
            )

    def run(self, frame: NDArray[np.uint8], logits: Floats, budget_ms: float | None = None) -> int:
        """As `Backend.run`; a budget costs a synchronisation per iteration."""
        deadline = None if budget_ms is None else time.perf_counter() + budget_ms / 1e3
        self._device.upload(frame, self._frame)
        scores = self._scores.upload(logits)
        size = logits.shape[1], logits.shape[2]
        return self.run_on_device(self._frame, scores, size, self._labels, deadline)

    def run_on_device(
        self,
        frame: Buffer,
        logits: Buffer,
        size: tuple[int, int],
        labels: Buffer,
        deadline: float | None = None,
    ) -> int:
        """The same for a frame [H, W, 3] and logits [C, *size] that are on the device already.

        Both stay as they are. What crosses the bus is a few numbers about the lattice.

        Args:
            labels: uint8 [H, W], to be filled.
            deadline: No further iteration once it would end later than this; None for no limit.
                By `time.perf_counter`.
        """
        self._prepare(logits, size, labels)
        if self._appearance:
            self._build_appearance(self._appearance, frame)
        iterations = self._iterate(labels, deadline)
        if self._scores.refused():  # waits for the device
            raise not_finite()
        return iterations

    def labels(self) -> NDArray[np.uint8]:
        """As `Backend.labels`."""
        result = np.empty(self._size, np.uint8)
        self._device.download(self._labels, result)
        return result

    def marginals(self) -> Floats:
        """As `Backend.marginals`."""
        rows = np.empty((self._pixels, self._row_bytes // 4), np.float32)
        self._device.download(self._marginals, rows)
        planes = np.ascontiguousarray(rows[:, : self._classes].T)
        return planes.reshape(-1, *self._size)

    def close(self) -> None:
        """Release the device if it was opened here."""
        if self._owned:
            self._device.close()

    def _term(self, packing: Packing, weight: float) -> PairwiseTerm | None:
        """None where the weight is 0: a lattice that changes nothing is not built."""
        if not weight:
            return None
        lattice = CudaLattice(self._device, packing, self._pixels)
        return PairwiseTerm(self._device, lattice, self._classes, weight)

    def _build_appearance(self, term: PairwiseTerm, frame: Buffer) -> None:
        params = self._params
        term.build(
            "embed_colours", frame, self._size[1], self._pixels, float(params.sigma_alpha),
            float(params.sigma_beta),
        )  # fmt: skip

    def _prepare(self, logits: Buffer, size: tuple[int, int], labels: Buffer) -> None:
        """U and the first Q."""
        scores, points = self._scores, size[0] * size[1]
        lowered = scores.room(4 * self._classes * points)
        self._kernels("lower_peaks", points, logits, points, lowered, scores.refusal)
        self._kernels(
            "begin", self._pixels * self._lanes, lowered, *size, *self._size,
            float(self._params.temperature), MOST_SURPRISE,
            int(self._params.iterations == 0), self._unary, self._marginals, labels,
        )  # fmt: skip

    def _update(self, labels: Buffer, want_labels: bool) -> None:
        self._kernels(
            "update", self._pixels * self._lanes, self._unary, *self._message(self._appearance),
            *self._message(self._smoothness), self._pixels, int(want_labels), self._marginals,
            labels,
        )  # fmt: skip

    def _message(self, term: PairwiseTerm | None) -> tuple[float, Buffer, Buffer, Buffer]:
        """What `update` slices: scale, vertices, weights, values; a scale of 0 skips the rest."""
        if term is None:
            return 0.0, self._unary, self._unary, self._unary
        lattice = term.lattice
        values = term.messages(self._marginals)
        return term.scale, lattice.entry_vertex, lattice.entry_weight, values

    def _iterate(self, labels: Buffer, deadline: float | None) -> int:
        """Update Q, at least once and in time; labels come with what may be the last update."""
        iterations = self._params.iterations
        if deadline is None:
            for iteration in range(iterations):
                self._update(labels, want_labels=iteration == iterations - 1)
            return iterations
        self._device.synchronise()
        now, last = time.perf_counter(), 0.0
        for iteration in range(iterations):
            if iteration and now + last > deadline:
                return iteration
            self._update(labels, want_labels=True)
            self._device.synchronise()
            now, last = time.perf_counter(), time.perf_counter() - now
        return iterations


class _Scores:
    """The logits as the CRF reads them, in memory that fits the largest so far."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._logits, self.refusal = device.allocate(4), device.allocate(4)
        device.upload(np.zeros(1, np.int32), self.refusal)

    def room(self, size: int) -> Buffer:
        """At least `size` bytes; what they hold stays if there are as many already."""
        if size > self._logits.size:
            self._device.free(self._logits)
            self._logits = self._device.allocate(size)
        return self._logits

    def upload(self, logits: Floats) -> Buffer:
        """Copy logits [C, h, w]."""
        room = self.room(logits.nbytes)
        self._device.upload(logits, room)
        return room

    def refused(self) -> bool:
        """Whether some pixel of the last logits had no finite maximum; asked once for each."""
        refusal = np.empty(1, np.int32)
        self._device.download(self.refusal, refusal)
        if refusal[0]:
            self._device.upload(np.zeros(1, np.int32), self.refusal)
        return bool(refusal[0])


def _packings(size: tuple[int, int], params: CrfParams) -> tuple[Packing, Packing]:
    """Of the appearance and the smoothness term: the farthest pixel, the brightest colour."""
    farthest = np.array([size[1] - 1, size[0] - 1], np.float32)
    smoothness = farthest / np.float32(params.sigma_gamma)
    position = farthest / np.float32(params.sigma_alpha)
    colour = np.full(3, 255, np.float32) / np.float32(params.sigma_beta)
    return Packing.of(np.concatenate([position, colour]).tolist()), Packing.of(smoothness.tolist())
