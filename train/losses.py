"""What training minimises: weighted cross-entropy, and the IoU itself by way of Lovász.

Each process holds equally many samples of the global batch; every loss here is the global batch's,
the same number in all of them.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from scenes.dataset import IGNORE
from train import processes

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
    entropy = processes.total(
        functional.cross_entropy(full, labels, class_weights, ignore_index=IGNORE, reduction="sum")
    )
    pixels = torch.bincount(labels.flatten(), minlength=256)[: len(class_weights)]
    weight = processes.total((pixels * class_weights).sum())
    if weight == 0:  # a batch of void alone teaches nothing
        return entropy
    loss = entropy / weight
    return loss + lovasz * lovasz_softmax(*random_pixels(full, labels)) if lovasz else loss


def random_pixels(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities [P, C] and labels [P] of random pixels of the global batch that are not void.

    Every process draws the same ones, fills in those it holds, and sums up what all have.
    """
    frame, own = labels[0].numel(), labels.numel()
    drawn = torch.randint(own * processes.count(), (LOVASZ_PIXELS,), device=labels.device)
    drawn -= own * processes.rank()
    places = ((drawn >= 0) & (drawn < own)).nonzero().squeeze(1)
    held = drawn[places]
    part = logits.flatten(2)[held // frame, :, held % frame].softmax(dim=1)
    probabilities = part.new_zeros(LOVASZ_PIXELS, part.shape[1]).index_copy(0, places, part)
    truth = labels.new_zeros(LOVASZ_PIXELS).index_copy(0, places, labels.flatten()[held])
    probabilities, truth = processes.total(probabilities), processes.total(truth)
    known = truth != IGNORE
    return probabilities[known], truth[known]


def distillation_loss(logits: Tensor, teacher: Tensor) -> Tensor:
    """Kullback-Leibler divergence KL(teacher || student) per pixel, in nats, of logits
    [N, C, h, w] and a teacher's logits of any size (Hinton et al. 2015, at temperature 1); the
    teacher has an opinion on void pixels too."""
    known = functional.interpolate(
        teacher.float(), logits.shape[2:], mode="bilinear", align_corners=False
    ).softmax(dim=1)
    divergence = functional.kl_div(logits.float().log_softmax(dim=1), known, reduction="none")
    return processes.total(divergence.sum(dim=1).mean()) / processes.count()


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
