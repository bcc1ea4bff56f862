"""What training minimises: weighted cross-entropy, and the IoU itself by way of Lovász."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from scenes.dataset import IGNORE

LOVASZ_PIXELS = 1 << 15  # sorting all 10^6 of a batch would take longer than the backward pass


def segmentation_loss(
    logits: Tensor, labels: Tensor, class_weights: Tensor, lovasz: float = 0.0
) -> Tensor:
    """Cross-entropy of logits [N, C, h, w] and int64 labels [N, H, W], plus `lovasz` times the
    Lovász loss on a random part of the pixels.

    Logits are brought to the labels' size (v3, section 4.1, "Upsampling logits": keeping the
    labels whole matters more than the cost).
    """
    size = labels.shape[1:]
    full = functional.interpolate(logits.float(), size, mode="bilinear", align_corners=False)
    loss = functional.cross_entropy(full, labels, class_weights, ignore_index=IGNORE)
    if lovasz == 0:
        return loss
    chosen = torch.randint(labels.numel(), (LOVASZ_PIXELS,), device=labels.device)
    chosen = chosen[labels.flatten()[chosen] != IGNORE]
    part = full.flatten(2)[chosen // labels[0].numel(), :, chosen % labels[0].numel()]
    return loss + lovasz * lovasz_softmax(part.softmax(dim=1), labels.flatten()[chosen])


def distillation_loss(logits: Tensor, teacher: Tensor) -> Tensor:
    """Kullback-Leibler divergence KL(teacher || student) per pixel, in nats, of logits
    [N, C, h, w] and a teacher's logits of any size (Hinton et al. 2015, at temperature 1); the
    teacher has an opinion on void pixels too."""
    known = functional.interpolate(
        teacher.float(), logits.shape[2:], mode="bilinear", align_corners=False
    ).softmax(dim=1)
    divergence = functional.kl_div(logits.float().log_softmax(dim=1), known, reduction="none")
    return divergence.sum(dim=1).mean()


def lovasz_softmax(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Convex surrogate of the mean Jaccard loss 1 - IoU over the classes that occur.

    For each class the errors |[label = c] - p_c| of the pixels [P], sorted downwards, are weighted
    by how much each further wrong pixel would lower the IoU (Berman, Triki, Blaschko: "The
    Lovász-Softmax loss", CVPR 2018, equations 8, 9 and 11). `probabilities` [P, C], `labels` [P].
    """
    classes = torch.unique(labels)
    truth = (labels == classes[:, None]).float()
    errors = (truth - probabilities.t()[classes]).abs()
    order = descending(errors.detach())
    steps = jaccard_steps(truth.gather(1, order))
    loss: Tensor = (errors.gather(1, order) * steps).sum(dim=1).mean()
    return loss


def descending(values: Tensor) -> Tensor:
    """The indices that sort each row downwards; on a CPU by NumPy, which takes 39 ms for 11 rows of
    65536 where torch.sort takes 244."""
    if values.device.type == "cpu":
        return torch.from_numpy(np.argsort(-values.numpy(), axis=1))
    return values.argsort(dim=1, descending=True)


def jaccard_steps(truth: Tensor) -> Tensor:
    """The growth of 1 - IoU as the pixels of each row [C, P] (1 = of the class) turn wrong one
    after another."""
    total = truth.sum(dim=1, keepdim=True)
    missed, added = truth.cumsum(1), (1 - truth).cumsum(1)
    loss = 1 - (total - missed) / (total + added)
    return loss - functional.pad(loss[:, :-1], (1, 0))
