"""How faithful a graph is to the FP32 one: its masks and logits against FP32's own.

No labels are needed. FP32's masks as the truth make a mean IoU in which a rare class counts as much
as the road; it falls by more than the mIoU against labels does, because every pixel that FP32 has
wrong and the other graph has wrong in another way, or right, counts too. Where labels are given the
mIoU against them is measured as well.

Frames go through one at a time. Per frame FP32's mask stays, and its logits in FP16, whose rounding
lies 71 dB below them (the bundled model's INT8 noise: 31 to 34): 0.4 MB at 480x360, 11 classes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto
from tqdm import tqdm

from calibration.graphs.execution import load
from calibration.sqnr import CEILING, Sqnr
from engines.failures import Refused
from engines.labels import upsample_argmax
from scenes.dataset import Frame, Labels
from scenes.scores import ConfusionMatrix


@dataclass(frozen=True)
class Fidelity:
    """A graph against FP32 on the same frames.

    `miou` is the mean IoU, in percent, with FP32's masks as truth, over the classes in them;
    `agreement` the percent of pixels with FP32's label; `sqnr_db` the logits' signal over their
    quantization noise. `true_miou` is the mIoU against labels, in percent, None without labels.
    """

    miou: float
    agreement: float
    sqnr_db: float
    true_miou: float | None = None


class Reference:
    """FP32's answers on some frames, computed once; other graphs are scored against them.

    Args:
        graph: The float graph, uint8 [1, H, W, 3] -> logits [1, C, h, w].
        frames: Frames [H, W, 3] at the graph's input size; taken one at a time, in each pass.
        truths: Labels [H, W] of each frame, at any size, if there are some.
    """

    def __init__(
        self, graph: ModelProto, frames: Sequence[Frame], truths: Sequence[Labels] | None = None
    ) -> None:
        if not len(frames):
            raise Refused("there is no frame to compare graphs on: give more frames with --data")
        if truths is not None and len(truths) != len(frames):
            raise ValueError(f"{len(frames)} frames, but labels of {len(truths)}")
        self.frames, self._truths = frames, truths
        self.classes = graph.graph.output[0].type.tensor_type.shape.dim[1].dim_value
        self._logits: list[NDArray[np.float16]] = []
        self._masks: list[Labels] = []
        true = ConfusionMatrix(self.classes)
        for logits, mask in self._run(graph, "FP32 masks", true):
            with np.errstate(over="ignore"):
                self._logits.append(logits.astype(np.float16))
            _check_finite(self._logits[-1])
            self._masks.append(mask)
        self.true_miou = _percent(true.miou)  # of FP32 itself; None without labels

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def own(self) -> Fidelity:
        """FP32 against itself."""
        return Fidelity(100, 100, CEILING, self.true_miou)

    def digest(self) -> str:
        """Sha256 over the pixels of frames and labels, in their order."""
        digest = hashlib.sha256()
        for images in (self.frames, self._truths or ()):
            for image in images:
                digest.update(hashlib.sha256(image.tobytes()).digest())
        return digest.hexdigest()

    def score(self, graph: ModelProto) -> Fidelity:
        """Run a graph with the same input and output over the frames."""
        same, true, sqnr = ConfusionMatrix(self.classes), ConfusionMatrix(self.classes), Sqnr()
        for index, (logits, mask) in enumerate(self._run(graph, "fidelity", true)):
            _check_finite(logits)
            sqnr.add(self._logits[index], logits)
            same.add(self._masks[index], mask)
        return Fidelity(
            miou=100 * same.miou,
            agreement=100 * same.pixel_accuracy,
            sqnr_db=sqnr.decibel,
            true_miou=_percent(true.miou),
        )

    def _run(
        self, graph: ModelProto, what: str, true: ConfusionMatrix
    ) -> Iterator[tuple[NDArray[np.float32], Labels]]:
        """Logits [C, h, w] and mask of each frame, at its labels' size; counts it in `true`."""
        session = load(graph)
        name = graph.graph.input[0].name
        for index in tqdm(range(len(self)), desc=what, unit="frame", disable=None, leave=False):
            frame = self.frames[index]
            (batch,) = session.run(None, {name: frame[None]})
            logits = np.asarray(batch[0], np.float32)
            if self._truths is None:
                yield logits, upsample_argmax(logits, frame.shape[:2])
            else:
                truth = self._truths[index]
                mask = upsample_argmax(logits, truth.shape)
                true.add(truth, mask)
                yield logits, mask


def _percent(share: float) -> float | None:
    """A share as percent; None for NaN."""
    return None if np.isnan(share) else 100 * share


def _check_finite(logits: NDArray[np.floating]) -> None:
    if not np.isfinite(logits).all():
        raise Refused(
            "a graph's logits are not finite (or above FP16's 65504): the checkpoint has diverged "
            "or overflows; evaluate it with python train/evaluate.py"
        )
