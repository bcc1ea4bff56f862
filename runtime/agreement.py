"""How far two engines agree about the same frames, counted pixel by pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.frame_path import Labels
from runtime.mean import Mean

WINDOW = 32  # frames that `recent` goes over
STEPS = 10_000  # a frame's agreement is kept to 0.01 %, so that a month of frames fits
# Upper ends of the histogram for Prometheus: INT8 of the bundled model has 0.995 to 0.998 of its
# pixels as FP32 on streets, a damaged engine 0.9 and less.
EDGES = (0.5, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995, 0.998, 0.999, 1.0)


@dataclass(frozen=True)
class Match:
    """Two label maps of one frame: shares of its pixels, 0 to 1.

    `worst` is the class that most differing pixels have on one side, None where none differ;
    `worst_share` are those pixels.
    """

    share: float
    worst: int | None
    worst_share: float


class Agreement:
    """Counts of all frames so far; `add` from one thread, everything else from any.

    Args:
        classes: Names, in label order.
        engines: What the first and the second labels come from, for people.
    """

    def __init__(self, classes: Sequence[str], engines: tuple[str, str] = ("a", "b")) -> None:
        self.classes = tuple(classes)
        self.engines = engines
        self.latest: Match | None = None
        self._pairs = np.zeros((len(classes), len(classes)), np.int64)  # [first, second] -> pixels
        self._frames: dict[int, int] = {}  # n of STEPS pixels -> frames that agree in so many
        self._recent = Mean(WINDOW)
        self._total = 0.0
        self._least, self._least_frame = 2.0, (0, 0.0)

    def add(self, first: Labels, second: Labels, index: int, time: float) -> Match:
        """Count a frame: labels [H, W] of both, its number and its time in seconds."""
        pairs = confusion(first, second, len(self.classes))
        apart = _apart(pairs)
        share = float(np.trace(pairs) / first.size)
        self._pairs = self._pairs + pairs  # a new array: readers in other threads keep a whole one
        step = round(share * STEPS)
        self._frames[step] = self._frames.get(step, 0) + 1
        self._recent.add(share)
        self._total += share
        if share < self._least:
            self._least, self._least_frame = share, (index, time)
        worst = int(apart.argmax())
        worst_share = float(apart[worst] / first.size)
        self.latest = Match(share, worst if worst_share else None, worst_share)
        return self.latest

    @property
    def count(self) -> int:
        """Frames so far."""
        return sum(self._frames.copy().values())  # dict.copy is one step for other threads

    @property
    def total(self) -> float:
        """The sum of all frames' shares."""
        return self._total

    @property
    def mean(self) -> float:
        """Mean share over all frames; 0 before the first."""
        return self._total / max(1, self.count)

    @property
    def recent(self) -> float:
        """Mean share over the last frames, about `WINDOW` of them; 0 before the first."""
        return float(self._recent.value)

    @property
    def settled(self) -> bool:
        """Whether there were as many frames as `recent` goes over."""
        return self._recent.settled

    def quantile(self, share: float) -> float:
        """The smallest agreement that at least this share of the frames do not exceed."""
        wanted, seen = share * self.count, 0
        for step, frames in sorted(self._frames.copy().items()):
            seen += frames
            if seen >= wanted:
                return step / STEPS
        return 0.0

    def cumulative(self, edges: Sequence[float]) -> list[int]:
        """How many frames agreed in at most each of these shares, to within 0.01 %."""
        frames = self._frames.copy()
        return [sum(n for step, n in frames.items() if step <= edge * STEPS) for edge in edges]

    def worst_class(self) -> str | None:
        """The class that most differing pixels of all frames have on one side; None without any."""
        apart = _apart(self._pairs)
        return self.classes[int(apart.argmax())] if apart.any() else None

    def brief(self) -> dict[str, Any]:
        """For the page; percent, None before the first frame."""
        shares = {"recent": self.recent, "mean": self.mean}
        begun = self.latest is not None
        percent = {name: percentage(share) if begun else None for name, share in shares.items()}
        first, second = self.engines
        return {"a": first, "b": second, **percent, "worst_class": self.worst_class()}

    def to_json(self) -> dict[str, Any]:
        """For the summary; percent, `agreement` of a class is intersection over union."""
        first, second = self.engines
        index, time = self._least_frame
        frames = {"mean": self.mean, "min": self._least, "p1": self.quantile(0.01)}
        if not self.count:
            nothing: dict[str, Any] = {"agreement": None, "worst_class": None, "worst_frame": None}
            return {"a": first, "b": second, **nothing, "per_class": []}
        return {
            "a": first,
            "b": second,
            "agreement": {name: percentage(share) for name, share in frames.items()},
            "per_class": [self._class_json(number) for number in range(len(self.classes))],
            "worst_class": self.worst_class(),
            "worst_frame": {
                "index": index,
                "time": round(time, 3),
                "agreement": percentage(self._least),
            },
        }

    def _class_json(self, number: int) -> dict[str, Any]:
        pairs = self._pairs
        pixels = int(pairs.sum())
        first, second = int(pairs[number].sum()), int(pairs[:, number].sum())
        both = int(pairs[number, number])
        union = first + second - both
        others = pairs[number].copy()
        others[number] = 0
        return {
            "name": self.classes[number],
            "agreement": percentage(both / union) if union else None,
            "differing": percentage((union - both) / pixels),
            "a": percentage(first / pixels),
            "b": percentage(second / pixels),
            "b_says": self.classes[int(others.argmax())] if others.any() else None,
        }


def confusion(first: Labels, second: Labels, classes: int) -> NDArray[np.int64]:
    """[label of the first, label of the second] -> pixels, for label maps of one shape."""
    codes = first.ravel().astype(np.intp) * classes + second.ravel()
    return np.bincount(codes, minlength=classes * classes).reshape(classes, classes)


def _apart(pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Per class, the pixels that have it on one side only.

    Of two classes exchanged for each other, both have the same; the first one in order counts.
    """
    apart: NDArray[np.int64] = pairs.sum(axis=0) + pairs.sum(axis=1) - 2 * np.diag(pairs)
    return apart


def percentage(share: float) -> float:
    """A share in percent, as people and JSON are told it."""
    return round(100 * share, 2)
