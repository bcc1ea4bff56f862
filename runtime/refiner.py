"""Which CRF the stream runs, and running it on frames of any size."""

from __future__ import annotations

from collections import Counter

from engines.failures import UsageError
from engines.spec import CrfParams, ModelSpec
from runtime.frame_path import Labels, Logits
from runtime.source import Image

MODES = ("auto", "off", "fast", "exact")


class CrfRefiner:
    """The dense CRF with a model's own parameters, rebuilt when the frame size changes.

    `refine` runs it on the CPU; `runtime.gpu_path` takes the settings and runs it on the GPU.

    Args:
        params: Weights and widths.
        classes: Number of classes.
        mode: "fast" or "exact".
        budget_ms: Time for each frame, after which no iteration begins; None for no limit.
    """

    def __init__(
        self, params: CrfParams, classes: int, mode: str, budget_ms: float | None = None
    ) -> None:
        from crf.refinement import Refinement

        self.params, self.classes, self.mode = params, classes, mode
        self.budget_ms = budget_ms
        self._refine = Refinement(classes, params, mode)
        self.iterations: Counter[int] = Counter()  # how many frames got how many

    def refine(self, frame: Image, logits: Logits) -> Labels:
        """Labels [H, W] of a frame [H, W, 3] and its logits [C, h, w]."""
        labels = self._refine(frame, logits, self.budget_ms)
        self.iterations[self._refine.iterations_run] += 1
        return labels


class Refiners:
    """A camera's CRFs: each mode that was ever chosen keeps its own, with its counts.

    Args:
        spec: Of the model.
        first: The one to begin with, None for off.
        budget_ms: As `CrfRefiner`.
    """

    def __init__(
        self, spec: ModelSpec, first: CrfRefiner | None, budget_ms: float | None = None
    ) -> None:
        self.first = first
        self._spec, self._budget_ms = spec, budget_ms
        self._made = {first.mode: first} if first else {}

    def of(self, mode: str) -> CrfRefiner | None:
        """That of a mode, None for off."""
        if mode != "off" and mode not in self._made:
            refiner, _ = choose_crf(mode, self._spec, self._budget_ms)
            assert refiner is not None
            self._made[mode] = refiner
        return self._made.get(mode)

    def iterations(self) -> dict[int, int]:
        """How many frames got how many CRF iterations, in all modes together."""
        counts = sum((refiner.iterations for refiner in self._made.values()), Counter[int]())
        return dict(sorted(counts.items()))


def choose_crf(
    mode: str, spec: ModelSpec, budget_ms: float | None = None, on_gpu: bool = False
) -> tuple[CrfRefiner | None, str]:
    """The CRF for `--crf MODE`, None for off, and what was chosen and why in a few words.

    "auto" is the fast one on the CPU and the exact one on a GPU, the only one there, where the
    model's spec has parameters; and off where it has none.
    """
    if mode not in MODES:
        raise UsageError(f"unknown --crf {mode}; known: {', '.join(MODES)}")
    if mode == "off":
        return None, "off: as asked"
    if mode == "auto" and spec.crf is None:
        return None, "off: the model has no CRF parameters"
    from crf.dense_crf import MILD

    if mode == "fast" and on_gpu:
        raise UsageError("--crf fast is the CPU's: on a GPU use --crf exact, or --crf off")
    automatic = "exact" if on_gpu else "fast"
    chosen = automatic if mode == "auto" else mode
    refiner = CrfRefiner(spec.crf or MILD, len(spec.classes), chosen, budget_ms)
    whose = "the model's" if spec.crf else "mild, as the model has none: docs/crf.md"
    return refiner, f"{chosen}: {'auto' if mode == 'auto' else 'as asked'} (parameters: {whose})"
