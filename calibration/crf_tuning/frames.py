"""The frames that a CRF is tuned on: each with its logits and its truth, all in memory."""

from __future__ import annotations

from dataclasses import dataclass

from tqdm import tqdm

from engines.failures import Refused, UsageError
from engines.labels import Floats
from engines.preprocess import fit_frame
from engines.session import Session
from scenes.boundaries import TrueBoundaries
from scenes.dataset import Dataset, Frame, Scene, spread

BUDGET = 2**31  # bytes; 101 frames of 480x360 with 11 classes need 0.23e9
TRIALS = 200  # settings that a frame is scored with; each leaves a confusion matrix
MINIMUM = 10  # frames; with fewer, five folds could not leave neighbours out


@dataclass(frozen=True)
class CachedFrame:
    """A frame [H, W, 3], the engine's logits float32 [C, h, w] of it, and its truth [H, W].

    Logits stay float32: rounded to float16 they would no longer give the scores that
    `train/evaluate.py` reports for the same engine.
    """

    name: str
    frame: Frame
    logits: Floats
    truth: TrueBoundaries

    @property
    def nbytes(self) -> int:
        """What the arrays hold."""
        return self.frame.nbytes + self.logits.nbytes + self.truth.nbytes


def load_frames(session: Session, dataset: Dataset, limit: int) -> list[CachedFrame]:
    """Run the engine once over at most `limit` frames, spread evenly over the dataset.

    Raises:
        Refused: Too few frames to cross-validate on.
        UsageError: The frames would not fit into `BUDGET`.
    """
    indices = spread(len(dataset), limit)
    if len(indices) < MINIMUM:
        raise Refused(
            f"{len(indices)} frames are too few to tune on, a few scenes would decide: give "
            f"--data and --split with at least {MINIMUM}, better 100, and no lower --frames"
        )
    frames: list[CachedFrame] = []
    for index in tqdm(indices, "running the engine", unit="frame", disable=None):
        frames.append(cached(session, dataset[index]))
        require_memory(frames[-1].nbytes, len(indices), len(session.spec.classes))
    return frames


def cached(session: Session, scene: Scene) -> CachedFrame:
    """One scene with the engine's logits."""
    model_input = fit_frame(scene.frame, session.spec.input_size)
    logits = session.run(model_input[None])[0].copy()
    truth = TrueBoundaries(scene.labels, len(session.spec.classes))
    return CachedFrame(scene.name, scene.frame, logits, truth)


def require_memory(frame: int, count: int, classes: int) -> None:
    """Fail before memory is gone: frames of so many bytes, and what is kept of trials on them."""
    each = frame + TRIALS * 8 * classes**2
    if each * count > BUDGET:
        raise UsageError(
            f"{count} frames need {each / 1e6:.0f} MB each, more than {BUDGET / 1e9:.1f} GB "
            f"together: use --frames {BUDGET // each}"
        )
