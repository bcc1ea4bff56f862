"""`DenseCrf`: sharpen a network's class scores along the edges of the frame they belong to."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from crf.backend import Backend
from crf.numpy_crf import NumpyCrf
from engines.failures import UsageError
from engines.spec import CrfParams

BACKENDS = ("cpu", "cuda", "numpy")
MODES = ("exact", "fast")
MOST_PIXELS_A_SIDE = 2**16 - 1  # the core keeps places in 16 bits each,
MOST_PIXELS = 2**27  # and numbers lattice corners, 6 a pixel, in 31
Floats = NDArray[np.float32]

# For a model without settings of its own: a small kernel and two iterations. The stock settings
# (10, 80, 13 | 3, 3 | 5) erase poles and signs on street scenes (docs/crf.md).
MILD = CrfParams(w1=2, sigma_alpha=40, sigma_beta=5, w2=1, sigma_gamma=1, iterations=2)


class DenseCrf:
    """The fully connected CRF of DeepLab v1 and v2, for frames of one size.

    A labelling x of the N pixels has the energy

        E(x) = sum_i U_i(x_i) + sum_{i<j} [x_i != x_j] k(f_i, f_j)
        k(f_i, f_j) = w1 exp(-|p_i - p_j|²/2σα² - |I_i - I_j|²/2σβ²) + w2 exp(-|p_i - p_j|²/2σγ²)

    (Krähenbühl and Koltun 2011, equations 1 and 3; Chen et al. 2015, equations 1 to 3), with
    U = -log softmax(logits / temperature), positions p in pixels and colours I in 0..255. Its
    mean-field marginals come from `iterations` parallel updates

        Q_i(l) ~ exp(-U_i(l) + sum_m w_m (n_m K_m n_m Q)_i(l)),   Q = softmax(-U) at first,

    where K_m is the m-th Gaussian on a permutohedral lattice and n_m = 1/sqrt(K_m 1). Two things
    follow pydensecrf rather than the paper: this symmetric normalisation, and j = i staying in the
    sum. Labels equal pydensecrf's; see docs/crf.md for the evidence and how to choose settings.

    The smoothness term depends on the size alone and is built once, here; memory is kept from
    frame to frame. Results do not depend on the number of threads.

    Args:
        size: Height and width of the frames, at most 65535 and 2^27 pixels in all.
        classes: Number of classes C, 1 to 254.
        params: Weights and widths; `ModelSpec.crf` holds a model's own.
        backend: "cpu", the C++ core; "cuda"; or "numpy", the oracle that both are tested against.
        mode: "exact", the semantics of pydensecrf; or "fast", for live video: blocks where the
            network is sure keep their label and weigh in as one sample each (docs/crf.md).
        threads: The most threads to use, None for all cores. For the cpu backend.

    Attributes:
        iterations_run: How many iterations the last frame got.

    Raises:
        DeviceMissing: The backend is not available here.
        UsageError: An unknown backend or mode, or a sigma too small for a lattice.
    """

    def __init__(
        self,
        size: tuple[int, int],
        classes: int,
        params: CrfParams,
        backend: str = "cpu",
        mode: str = "exact",
        threads: int | None = None,
    ) -> None:
        sides_fit = min(size) >= 1 and max(size) <= MOST_PIXELS_A_SIDE
        if not (sides_fit and size[0] * size[1] <= MOST_PIXELS and 1 <= classes <= 254):
            raise ValueError(f"size {size} or {classes} classes out of range (1 to 254 classes)")
        self.size, self.classes, self.params = size, classes, params
        self.iterations_run = 0
        self._backend = _open(backend, mode, threads, size, classes, params)

    def refine(
        self,
        frame: NDArray[np.uint8],
        logits: NDArray[np.floating],
        budget_ms: float | None = None,
    ) -> NDArray[np.uint8]:
        """The most likely class of each pixel, uint8 [H, W].

        Args:
            frame: uint8 [H, W, 3] RGB of the CRF's size.
            logits: floating [C, h, w], at full resolution or smaller (then upsampled bilinearly,
                align_corners=False). -inf stands for probability 0.
            budget_ms: Stop iterating once another iteration would end later than this many
                milliseconds after the call; at least one runs. None for no limit.

        Raises:
            Refused: NaN or +inf among the logits, or a pixel that excludes every class.
        """
        self._run(frame, logits, budget_ms)
        return self._backend.labels()

    def marginals(self, frame: NDArray[np.uint8], logits: NDArray[np.floating]) -> Floats:
        """Q, the probability of each class at each pixel: float32 [C, H, W], sums to 1 over C.

        Arguments and errors are those of `refine`.
        """
        self._run(frame, logits, None)
        return self._backend.marginals()

    def close(self) -> None:
        """Give a GPU's memory back. `with DenseCrf(...) as crf:` does so at its end."""
        self._backend.close()

    def __enter__(self) -> DenseCrf:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _run(
        self, frame: NDArray[np.uint8], logits: NDArray[np.floating], budget_ms: float | None
    ) -> None:
        self._check_shapes(frame, logits)
        with np.errstate(over="ignore"):  # beyond float32: infinite, and then refused
            scores = np.ascontiguousarray(logits, np.float32)
        pixels = np.ascontiguousarray(frame)
        self.iterations_run = self._backend.run(pixels, scores, budget_ms)

    def _check_shapes(self, frame: NDArray[np.uint8], logits: NDArray[np.floating]) -> None:
        if frame.dtype != np.uint8 or frame.shape != (*self.size, 3):
            raise ValueError(
                f"frame is {frame.dtype} {frame.shape}: this CRF takes uint8 {(*self.size, 3)}"
            )
        most = (self.classes, *self.size)
        fits = logits.ndim == 3 and all(0 < n <= m for n, m in zip(logits.shape, most, strict=True))
        if not fits or len(logits) != self.classes:
            raise ValueError(f"logits are {logits.shape}: this CRF takes {most} or a smaller map")


def _open(
    backend: str,
    mode: str,
    threads: int | None,
    size: tuple[int, int],
    classes: int,
    params: CrfParams,
) -> Backend:
    if mode not in MODES:
        raise UsageError(f"unknown CRF mode {mode!r}; available: {', '.join(MODES)}")
    if threads is not None and threads < 1:
        raise UsageError(f"the CRF needs at least 1 thread, got {threads}")
    if backend == "numpy":
        return NumpyCrf(size, params, mode == "fast")
    if backend == "cpu":
        from crf.native_crf import NativeCrf

        return NativeCrf(size, classes, params, mode == "fast", threads)
    if backend == "cuda":
        if mode != "exact":
            raise UsageError("the CRF's fast mode is the CPU's: use mode 'exact' on the GPU")
        from crf.cuda_crf import CudaCrf

        return CudaCrf(size, classes, params)
    raise UsageError(f"unknown CRF backend {backend!r}; available: {', '.join(BACKENDS)}")
