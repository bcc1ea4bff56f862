"""Predictions of a checkpoint or a bundle's engine on frames of any size, and their scores.

Where several processes evaluate together, each takes its share of the images. Scores are sums of
integers, so every process has the result of a lone one, to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from crf.refinement import Refinement
from engines.failures import Refused
from engines.labels import upsample_argmax, upsample_softmax
from engines.preprocess import fit_frame
from engines.session import Session
from engines.spec import ModelSpec
from scenes.dataset import Dataset, Frame, Labels
from scenes.scores import ConfusionMatrix, SegmentationScores, Summary, TrueBoundaries
from train import processes
from train.cost import ONCE, Strategy
from train.deployable import Deployable
from train.multiply_adds import scaled

Logits = NDArray[np.float32]
Predict = Callable[[Frame], Logits]  # frame [H, W, 3] at the model's size -> scores [C, h, w]
Way = tuple[Strategy, Refinement | None]  # at which scales, mirrored or not; then refined or not


class Versions:
    """What a model says about one frame at several scales, mirrored or not.

    Every version is a whole forward pass whose logits are brought to the image's size before their
    softmax; the average is over probabilities (DeepLab v3, section 4.1, "Inference strategy" and
    the official model.py). Each version is computed once, however many strategies ask for it.
    Passes are single: a frame and its mirror image as one batch took 3 to 20 % longer (one thread).
    """

    def __init__(self, predict: Predict, frame: Frame, size: tuple[int, int]) -> None:
        """`frame` has the model's input size, `size` = (H, W) is that of the image behind it."""
        self._predict, self._frame, self._size = predict, frame, size
        self._logits: dict[tuple[float, bool], Logits] = {}
        self._probabilities: dict[tuple[float, bool], Logits] = {}

    def scores(self, strategy: Strategy) -> Logits:
        """The logits [C, h, w] of the frame itself, or the log of the mean probabilities
        [C, H, W] of several versions: -inf where all of them exclude a class."""
        if strategy == ONCE:
            return self.logits(1.0, False)
        sides = (False, True)[: 1 + strategy.flip]
        versions = [(scale, mirrored) for scale in strategy.scales for mirrored in sides]
        total = sum(self.probabilities(*version) for version in versions)
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(total / np.float32(len(versions))), np.float32)

    def probabilities(self, scale: float, mirrored: bool) -> Logits:
        """[C, H, W], mirrored back."""
        if (scale, mirrored) not in self._probabilities:
            logits = self.logits(scale, mirrored)
            result = upsample_softmax(logits, self._size, torch.get_num_threads())
            self._probabilities[scale, mirrored] = result[..., ::-1] if mirrored else result
        return self._probabilities[scale, mirrored]

    def logits(self, scale: float, mirrored: bool) -> Logits:
        """One forward pass: [C, h, w] at the network's stride, as the version lies."""
        if (scale, mirrored) not in self._logits:
            height, width = (scaled(side, scale) for side in self._frame.shape[:2])
            frame = fit_frame(self._frame, (height, width))
            self._logits[scale, mirrored] = self._predict(
                np.ascontiguousarray(frame[:, ::-1]) if mirrored else frame
            )
        return self._logits[scale, mirrored]


def check_classes(spec: ModelSpec, dataset: Dataset, data: str) -> None:
    """Frames of other classes than the model's raise `Refused`; `data` is what the user called
    them."""
    if not dataset.classes:
        raise Refused(
            f"{data} has no labels, so nothing can be scored: give --data labelled frames, as "
            "camvid:DIR or folder:DIR"
        )
    if dataset.classes != spec.classes:
        raise Refused(
            f"{data} has the classes {', '.join(dataset.classes)}, but the model {spec.name} was "
            f"trained for {', '.join(spec.classes)}"
        )


def predict_with(network: nn.Module, spec: ModelSpec) -> Predict:
    """Prediction by a PyTorch network, on frames of any size."""
    device = next(network.parameters()).device
    deployable = Deployable(network, spec).eval().to(device)

    @torch.inference_mode()
    def predict(frame: Frame) -> Logits:
        batch = torch.tensor(frame, device=device).unsqueeze(0)
        return np.asarray(deployable(batch)[0].cpu().numpy())

    return predict


def in_half(network: nn.Module) -> nn.Module:
    """The network in FP16 arithmetic (its own weights are converted); logits stay FP16."""

    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network.half()

        def forward(self, images: Tensor) -> Tensor:
            logits: Tensor = self.network(images.half())
            return logits

    return Half()


def predict_through(session: Session) -> Predict:
    """Prediction by an engine, on frames of its own size."""
    return lambda frame: session.run(frame[None])[0]


def score(predict: Predict, spec: ModelSpec, dataset: Dataset, way: Way = (ONCE, None)) -> Summary:
    """All scores over a dataset, each image at the size of its labels."""
    return score_all(predict, spec, dataset, [way])[0]


def score_all(
    predict: Predict, spec: ModelSpec, dataset: Dataset, ways: Sequence[Way]
) -> list[Summary]:
    """The scores of several ways over a dataset, in one go through it.

    They share their forward passes: once, mirrored, multi-scale and both together cost no more
    than the last of them alone.
    """
    scores = [SegmentationScores(spec.classes) for _ in ways]
    for index in tqdm(processes.share(range(len(dataset))), "evaluating", disable=None):
        scene = dataset[index]
        versions = Versions(predict, fit_frame(scene.frame, spec.input_size), scene.labels.shape)
        truth = TrueBoundaries(scene.labels, len(spec.classes))
        for (strategy, refine), sums in zip(ways, scores, strict=True):
            logits = versions.scores(strategy)
            labels = refine(scene.frame, logits) if refine else full_size(logits, scene.labels)
            sums.compare(truth, labels)
    return [merged(parts).summary() for parts in zip(*processes.gathered(scores), strict=True)]


def full_size(logits: Logits, truth: Labels) -> Labels:
    """The labels that `logits` stand for, at the size of `truth`."""
    return upsample_argmax(logits, truth.shape, torch.get_num_threads())


def mean_iou(predict: Predict, spec: ModelSpec, dataset: Dataset) -> float:
    """Mean IoU in percent: what `score` reports, without the slower boundary scores."""
    confusion = ConfusionMatrix(len(spec.classes))
    for index in processes.share(range(len(dataset))):
        scene = dataset[index]
        logits = predict(fit_frame(scene.frame, spec.input_size))
        confusion.add(scene.labels, full_size(logits, scene.labels))
    return 100 * merged(processes.gathered(confusion)).miou


Sums = TypeVar("Sums", ConfusionMatrix, SegmentationScores)


def merged(parts: Sequence[Sums]) -> Sums:
    """All that the parts have counted."""
    for part in parts[1:]:
        parts[0].merge(part)
    return parts[0]
