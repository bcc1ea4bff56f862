"""The oracle: mean-field inference in NumPy, which every other backend is compared with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from crf.mean_field import Kernel, infer
from crf.permutohedral import Floats
from crf.unary import unary_energies
from engines.spec import CrfParams


class NumpyCrf:
    """The exact CRF for frames of one size; arguments as for `DenseCrf`."""

    def __init__(self, size: tuple[int, int], params: CrfParams) -> None:
        self._size, self._params = size, params
        self._positions = np.indices(size)[::-1].reshape(2, -1).T.astype(np.float32)
        self._smoothness = _kernels(params.w2, self._positions / np.float32(params.sigma_gamma))
        self._marginals: Floats

    def run(self, frame: NDArray[np.uint8], logits: Floats, budget_ms: float | None) -> int:
        """As `Backend.run`; the oracle takes its time, whatever the budget."""
        unary = unary_energies(logits, self._size, self._params.temperature)
        kernels = [*self._smoothness, *self._appearance(frame)]
        self._marginals = infer(unary, kernels, self._params.iterations)
        return self._params.iterations

    def labels(self) -> NDArray[np.uint8]:
        """As `Backend.labels`."""
        return np.asarray(self.marginals().argmax(axis=0), np.uint8)

    def marginals(self) -> Floats:
        """As `Backend.marginals`."""
        return self._marginals.reshape(-1, *self._size)

    def _appearance(self, frame: NDArray[np.uint8]) -> list[Kernel]:
        where = self._positions / np.float32(self._params.sigma_alpha)
        colour = frame.reshape(-1, 3).astype(np.float32) / np.float32(self._params.sigma_beta)
        return _kernels(self._params.w1, np.concatenate([where, colour], axis=1))


def _kernels(weight: float, features: Floats) -> list[Kernel]:
    """One kernel, or none where its weight is 0: a lattice that changes nothing is not built."""
    return [Kernel.of(features, weight)] if weight else []
