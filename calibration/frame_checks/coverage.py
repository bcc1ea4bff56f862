"""Which classes calibration frames show: a class that never appears leaves its ranges to chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from calibration.frame_checks.findings import Finding
from scenes.dataset import Labels

RARE = 5  # frames


@dataclass(frozen=True)
class ClassShare:
    """A class: in percent of the labelled pixels, in how many frames, and in percent of these."""

    name: str
    pixels: float
    frames: int
    frame_share: float


class Coverage:
    """Counts pixels and frames per class, one frame at a time."""

    def __init__(self, classes: Sequence[str]) -> None:
        self._classes = tuple(classes)
        self._pixels = np.zeros(len(classes), np.int64)
        self._frames = np.zeros(len(classes), np.int64)
        self._count = 0

    def add(self, labels: Labels) -> None:
        """Count one frame's labels [H, W]; what is no class is ignored."""
        pixels = np.bincount(labels.ravel(), minlength=256)[: len(self._classes)]
        self._pixels += pixels
        self._frames += pixels > 0
        self._count += 1

    @property
    def labelled(self) -> bool:
        """Whether any pixel had a class."""
        return bool(self._pixels.any())

    def shares(self) -> list[ClassShare]:
        """All classes in their order; empty if nothing is labelled."""
        if not self.labelled:
            return []
        total = self._pixels.sum()
        return [
            ClassShare(name, 100 * float(pixels / total), int(frames), 100 * frames / self._count)
            for name, pixels, frames in zip(self._classes, self._pixels, self._frames, strict=True)
        ]

    def findings(self) -> list[Finding]:
        """A warning for absent classes and one for rare ones; none without labels."""
        shares = self.shares()
        missing = [share.name for share in shares if share.frames == 0]
        rare = [f"{s.name} in {s.frames}" for s in shares if 0 < s.frames < min(RARE, self._count)]
        findings = []
        if missing:
            text = (
                f"no frame shows {', '.join(missing)}: activations that only such things cause "
                "are outside the ranges and clip; add frames that show them"
            )
            findings.append(Finding("class-missing", text))
        if rare:
            text = (
                f"few frames show some classes ({', '.join(rare)} of {self._count} frames): a "
                f"single odd one decides their ranges; add some, {RARE} or more of each"
            )
            findings.append(Finding("class-rare", text))
        return findings
