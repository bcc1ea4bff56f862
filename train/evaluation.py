"""Predictions of a checkpoint or a bundle's engine on frames of any size, and their scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from crf.refinement import Refinement
from engines.labels import upsample_argmax, upsample_softmax
from engines.preprocess import fit_frame
from engines.session import Session
from engines.spec import ModelSpec
from scenes.dataset import Dataset, Frame
from scenes.scores import ConfusionMatrix, SegmentationScores, Summary
from train.deployable import Deployable

Logits = NDArray[np.float32]
Predict = Callable[[Frame], Logits]  # frame [H, W, 3] at the model's size -> scores [C, h, w]


def predict_with(network: nn.Module, spec: ModelSpec) -> Predict:
    """Prediction by a PyTorch network, on frames of any size."""
    deployable = Deployable(network, spec).eval()

    @torch.inference_mode()
    def predict(frame: Frame) -> Logits:
        batch = torch.tensor(frame).unsqueeze(0)
        return np.asarray(deployable(batch)[0].numpy())

    return predict


def predict_through(session: Session) -> Predict:
    """Prediction by an engine, on frames of its own size."""
    return lambda frame: session.run(frame[None])[0]


def averaged(predict: Predict, scales: Sequence[float], flip: bool) -> Predict:
    """Mean softmax over scaled and mirrored versions of a frame, as log-probabilities [C, H, W].

    Every version is a whole forward pass, its logits are brought to the frame's size first
    (DeepLab v3, section 4.1, "Inference strategy").
    """

    def predict_averaged(frame: Frame) -> Logits:
        height, width = frame.shape[:2]
        total, count = np.zeros((), np.float32), 0
        for scale in scales:
            scaled = fit_frame(frame, (round(height * scale), round(width * scale)))
            for mirrored in (False, True)[: 1 + flip]:
                logits = predict(scaled[:, ::-1].copy() if mirrored else scaled)
                total = total + upsample_softmax(
                    logits[..., ::-1] if mirrored else logits, (height, width)
                )
                count += 1
        with np.errstate(divide="ignore"):  # a probability of 0 excludes its class
            return np.asarray(np.log(total / count))

    return predict_averaged


def score(
    predict: Predict, spec: ModelSpec, dataset: Dataset, refine: Refinement | None = None
) -> Summary:
    """All scores over a dataset, each image at the size of its labels."""
    scores = SegmentationScores(spec.classes)
    for scene in tqdm(dataset, "evaluating", len(dataset), disable=None):
        logits = predict(fit_frame(scene.frame, spec.input_size))
        labels = (
            refine(scene.frame, logits) if refine else upsample_argmax(logits, scene.labels.shape)
        )
        scores.add(scene.labels, labels)
    return scores.summary()


def mean_iou(predict: Predict, spec: ModelSpec, dataset: Dataset) -> float:
    """Mean IoU in percent: what `score` reports, without the slower boundary scores."""
    confusion = ConfusionMatrix(len(spec.classes))
    for scene in dataset:
        logits = predict(fit_frame(scene.frame, spec.input_size))
        confusion.add(scene.labels, upsample_argmax(logits, scene.labels.shape))
    return 100 * confusion.miou
