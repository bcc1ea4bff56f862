"""Mean-field inference with Potts compatibility over Gaussian kernels (NumPy).

Krähenbühl and Koltun 2011, algorithm 1, with the semantics of their DenseCRF code: fully parallel
updates from Q = softmax(-U), a fixed number of them, and each kernel K normalised on both sides as
n K n with n = 1/sqrt(K 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from crf.permutohedral import Floats, Lattice


@dataclass(frozen=True)
class Kernel:
    """One weighted term w n K n of the pairwise energy, over samples that stand for many points.

    `norm` is n = 1/sqrt(K mass) and `mass` the points that each sample stands for, float32 [N].
    """

    lattice: Lattice
    norm: Floats
    mass: Floats
    weight: float

    @staticmethod
    def of(features: Floats, mass: Floats, weight: float) -> Kernel:
        """The kernel of unit Gaussians around `features` [N, d], symmetrically normalised."""
        lattice = Lattice(features)
        total = lattice.filter(mass[:, None])[:, 0].astype(np.float64)
        return Kernel(lattice, (1 / np.sqrt(total + 1e-20)).astype(np.float32), mass, weight)

    def message(self, marginals: Floats) -> Floats:
        """w n K n Q: what points alike say about each class, float32 [C, N] -> [C, N]."""
        filtered: Floats = self.lattice.filter((marginals * (self.norm * self.mass)).T).T
        return filtered * (self.norm * np.float32(self.weight))


def infer(unary: Floats, kernels: Sequence[Kernel], iterations: int, updated: int) -> Floats:
    """Marginals Q float32 [C, N] after `iterations` updates Q = softmax(-U + sum_k w_k n K n Q).

    Only the first `updated` samples are; the others are evidence and keep Q = softmax(-U).
    """
    marginals = _softmax(-unary)
    for _ in range(iterations):
        field = -unary
        for kernel in kernels:
            field += kernel.message(marginals)
        marginals[:, :updated] = _softmax(field[:, :updated])
    return marginals


def _softmax(field: Floats) -> Floats:
    result: Floats = np.exp(field - field.max(axis=0))
    result /= result.sum(axis=0)
    return result
