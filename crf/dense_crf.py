"""`DenseCrf`: sharpen a network's class scores along the edges of the frame they belong to."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from crf.mean_field import Kernel, infer, unary_energies
from crf.permutohedral import Floats
from engines.failures import DeviceMissing, Refused, UsageError
from engines.labels import upsample
from engines.spec import CrfParams

ABSENT = {  # backends this version does not have, and why
    "cpu": "the C++ core is not part of this version",
    "cuda": "the CUDA kernels are not part of this version",
}
MODES = ("exact",)
IMPOSSIBLE = np.float32(-1e30)  # stands for -inf: survives interpolation with weight 0 (0 * inf)


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

    The smoothness term depends on the size alone and is built once, here. Peak memory at 480x360,
    11 classes and the settings (4,67,3 | 3,1): 108 MB on a street frame, 338 MB on pure noise.

    Args:
        size: Height and width of the frames, in pixels.
        classes: Number of classes C, 1 to 254.
        params: Weights and widths; `ModelSpec.crf` holds a model's own.
        backend: "numpy", the oracle.
        mode: "exact", the semantics of pydensecrf.
        threads: The most threads to use, None for all cores. The numpy backend uses one.

    Raises:
        DeviceMissing: The backend is not available here.
        UsageError: An unknown backend or mode, or a sigma too small for a lattice.
    """

    def __init__(
        self,
        size: tuple[int, int],
        classes: int,
        params: CrfParams,
        backend: str = "numpy",
        mode: str = "exact",
        threads: int | None = None,
    ) -> None:
        _check(backend, mode, threads)
        if min(size) < 1 or not 1 <= classes <= 254:
            raise ValueError(f"size {size} or {classes} classes out of range (1 to 254 classes)")
        self.size, self.classes, self.params = size, classes, params
        self._positions = np.indices(size)[::-1].reshape(2, -1).T.astype(np.float32)
        self._smoothness = _kernels(params.w2, self._positions / np.float32(params.sigma_gamma))

    def refine(self, frame: NDArray[np.uint8], logits: NDArray[np.floating]) -> NDArray[np.uint8]:
        """The most likely class of each pixel, uint8 [H, W]; arguments as for `marginals`."""
        winner = self.marginals(frame, logits).argmax(axis=0)
        return np.asarray(winner, np.uint8)

    def marginals(self, frame: NDArray[np.uint8], logits: NDArray[np.floating]) -> Floats:
        """Q, the probability of each class at each pixel: float32 [C, H, W], sums to 1 over C.

        Args:
            frame: uint8 [H, W, 3] RGB of the CRF's size.
            logits: floating [C, h, w], at full resolution or smaller (then upsampled bilinearly,
                align_corners=False). -inf stands for probability 0.

        Raises:
            Refused: NaN or +inf among the logits, or a pixel that excludes every class.
            UsageError: A sigma too small for a lattice over this frame.
        """
        self._check_shapes(frame, logits)
        kernels = [*self._smoothness, *self._appearance(frame)]
        marginals = infer(self._unary(logits), kernels, self.params.iterations)
        return marginals.reshape(-1, *self.size)

    def _unary(self, logits: NDArray[np.floating]) -> Floats:
        scores = _finite(logits)
        if scores.shape[1:] != self.size:
            scores = upsample(scores, self.size)
        return unary_energies(scores.reshape(self.classes, -1), self.params.temperature)

    def _appearance(self, frame: NDArray[np.uint8]) -> list[Kernel]:
        where = self._positions / np.float32(self.params.sigma_alpha)
        colour = frame.reshape(-1, 3).astype(np.float32) / np.float32(self.params.sigma_beta)
        return _kernels(self.params.w1, np.concatenate([where, colour], axis=1))

    def _check_shapes(self, frame: NDArray[np.uint8], logits: NDArray[np.floating]) -> None:
        if frame.dtype != np.uint8 or frame.shape != (*self.size, 3):
            raise ValueError(
                f"frame is {frame.dtype} {frame.shape}: this CRF takes uint8 {(*self.size, 3)}"
            )
        most = (self.classes, *self.size)
        fits = logits.ndim == 3 and all(0 < n <= m for n, m in zip(logits.shape, most, strict=True))
        if not fits or len(logits) != self.classes:
            raise ValueError(f"logits are {logits.shape}: this CRF takes {most} or a smaller map")


def _kernels(weight: float, features: Floats) -> list[Kernel]:
    """One kernel, or none where its weight is 0: a lattice that changes nothing is not built."""
    return [Kernel.of(features, weight)] if weight else []


def _finite(logits: NDArray[np.floating]) -> Floats:
    """Logits less their maximum over the classes, float32: same softmax, no infinity left."""
    with np.errstate(over="ignore"):  # beyond float32: -inf is IMPOSSIBLE, +inf is refused
        scores = logits.astype(np.float32)
        peak = scores.max(axis=0)
        if not np.isfinite(peak).all():
            raise Refused(
                "the logits hold NaN or infinity: an overflow inside the network (FP16?) is the "
                "likely cause; run the model with --precision fp32 and compare"
            )
        result: Floats = np.maximum(scores - peak, IMPOSSIBLE)
    return result


def _check(backend: str, mode: str, threads: int | None) -> None:
    if backend in ABSENT:
        raise DeviceMissing(f"no CRF backend {backend!r}: {ABSENT[backend]}; use 'numpy'")
    if backend != "numpy":
        raise UsageError(f"unknown CRF backend {backend!r}; use 'numpy'")
    if mode not in MODES:
        raise UsageError(f"unknown CRF mode {mode!r}; available: {', '.join(MODES)}")
    if threads is not None and threads < 1:
        raise UsageError(f"the CRF needs at least 1 thread, got {threads}")
