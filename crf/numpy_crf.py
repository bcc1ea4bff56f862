"""The oracle: mean-field inference in NumPy, which every other backend is compared with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from crf.mean_field import Kernel, infer
from crf.permutohedral import Floats
from crf.sampling import Samples, all_pixels, unsettled
from crf.unary import finite, unary_energies
from engines.spec import CrfParams


class NumpyCrf:
    """The CRF for frames of one size; arguments as for `DenseCrf`."""

    def __init__(self, size: tuple[int, int], params: CrfParams, fast: bool = False) -> None:
        self._size, self._params = size, params
        self._pixels = None if fast else all_pixels(size)
        self._smoothness = [] if fast else self._smoothness_of(all_pixels(size))
        self._marginals: Floats

    def run(self, frame: NDArray[np.uint8], logits: Floats, budget_ms: float | None) -> int:
        """As `Backend.run`; the oracle takes its time, whatever the budget."""
        scores = finite(logits)
        unary = unary_energies(scores, self._size, self._params.temperature)
        samples = self._pixels or unsettled(scores, self._size, self._params)
        smoothness = self._smoothness or self._smoothness_of(samples)
        kernels = [*smoothness, *self._appearance_of(samples, frame)]
        at_samples = unary.reshape(-1, *self._size)[(slice(None), *samples.middles)]
        inferred = infer(at_samples, kernels, self._params.iterations, samples.updated)
        # Settled blocks keep what the network says of each of their pixels.
        self._marginals = infer(unary, [], 0, 0).reshape(-1, *self._size)
        here = (slice(None), samples.top[: samples.updated], samples.left[: samples.updated])
        self._marginals[here] = inferred[:, : samples.updated]
        return self._params.iterations

    def labels(self) -> NDArray[np.uint8]:
        """As `Backend.labels`."""
        return np.asarray(self._marginals.argmax(axis=0), np.uint8)

    def marginals(self) -> Floats:
        """As `Backend.marginals`."""
        return self._marginals

    def close(self) -> None:
        """As `Backend.close`: the arrays go with the object."""

    def _smoothness_of(self, samples: Samples) -> list[Kernel]:
        where = samples.positions / np.float32(self._params.sigma_gamma)
        return _kernels(self._params.w2, where, samples)

    def _appearance_of(self, samples: Samples, frame: NDArray[np.uint8]) -> list[Kernel]:
        where = samples.positions / np.float32(self._params.sigma_alpha)
        colour = samples.colours(frame) / np.float32(self._params.sigma_beta)
        return _kernels(self._params.w1, np.concatenate([where, colour], axis=1), samples)


def _kernels(weight: float, features: Floats, samples: Samples) -> list[Kernel]:
    """One kernel, or none where its weight is 0: a lattice that changes nothing is not built."""
    return [Kernel.of(features, samples.mass, weight)] if weight else []
