"""Rare classes, pasted from one training sample into another.

After ClassMix (Olsson et al., WACV 2021), which pastes random classes of unlabelled frames; here
labels are known, and what is scarce is poles, signs and people: in CamVid 0.3 to 1.2 % of the
pixels each.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from scenes.dataset import Scene

Sample = tuple[Tensor, Tensor]  # uint8 image [3, H, W], int64 labels [H, W]

RARE = 1 / 3  # of the share that each class would have if all were alike
ENOUGH = 1e-3  # share of a frame's pixels from which on it can donate a class


class ClassMix:
    """Chooses donors so that each rare class is pasted equally often, and pastes."""

    def __init__(self, scenes: Sequence[Scene], classes: int, probability: float) -> None:
        self.probability = probability
        shares = np.stack([shares_of(scene, classes) for scene in scenes])
        mean = shares.mean(axis=0)
        self.rare = torch.from_numpy(np.flatnonzero((mean > 0) & (mean < RARE / classes)))
        donors = (
            [s for s, x in zip(scenes, shares, strict=True) if x[c] >= ENOUGH] for c in self.rare
        )
        self._donors = [scenes for scenes in donors if scenes]

    def donor(self) -> Scene | None:
        """A scene with a rare class in it, or None (by chance, or where no class is rare)."""
        if not self._donors or torch.rand(()) >= self.probability:
            return None
        scenes = self._donors[int(torch.randint(len(self._donors), ()))]
        return scenes[int(torch.randint(len(scenes), ()))]

    def paste(self, donor: Sample, receiver: Sample) -> Sample:
        """Copy every pixel of a rare class from `donor` onto `receiver`, image and labels."""
        mask = torch.isin(donor[1], self.rare)
        return torch.where(mask, donor[0], receiver[0]), torch.where(mask, donor[1], receiver[1])


def shares_of(scene: Scene, classes: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """The share of each class in a scene's pixels [classes]."""
    return np.bincount(scene.labels.ravel(), minlength=256)[:classes] / scene.labels.size
