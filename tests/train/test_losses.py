"""The Lovász loss against its definition, and the training loss against its parts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from scenes.dataset import IGNORE
from train import losses
from train.losses import distillation_loss, lovasz_softmax, segmentation_loss


def jaccard_loss(wrong: set[int], truth: set[int]) -> float:
    """1 - IoU of a class when exactly the pixels `wrong` are predicted wrongly (equation 6)."""
    return len(wrong) / len(truth | wrong)


def lovasz_by_definition(errors: np.ndarray, truth: set[int]) -> float:
    """The Lovász extension of `jaccard_loss` (equation 8), one pixel at a time."""
    total, wrong = 0.0, set[int]()
    for pixel in np.argsort(-errors):
        before = jaccard_loss(wrong, truth) if wrong else 0.0
        wrong.add(int(pixel))
        total += float(errors[pixel]) * (jaccard_loss(wrong, truth) - before)
    return total


def test_lovasz_is_the_extension_of_the_jaccard_loss() -> None:
    generator = torch.Generator().manual_seed(3)
    probabilities = torch.rand(40, 4, generator=generator).softmax(dim=1)
    labels = torch.randint(3, (40,), generator=generator)  # class 3 does not occur
    expected = []
    for index in range(3):
        truth = labels == index
        errors = (truth.float() - probabilities[:, index]).abs().double().numpy()
        expected.append(lovasz_by_definition(errors, set(truth.nonzero().flatten().tolist())))
    assert lovasz_softmax(probabilities, labels).item() == pytest.approx(np.mean(expected), 1e-5)


def test_on_hard_predictions_lovasz_is_one_minus_the_iou() -> None:
    labels = torch.tensor([0, 0, 0, 1, 1])
    predicted = torch.tensor([0, 0, 1, 1, 0])
    ious = [2 / 4, 1 / 3]
    loss = lovasz_softmax(functional.one_hot(predicted, 2).float(), labels)
    assert loss.item() == pytest.approx(1 - sum(ious) / 2)


def test_the_loss_is_cross_entropy_plus_its_share_of_lovasz(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 3, 4, 6), torch.randint(3, (2, 16, 24))
    labels[:, :3] = IGNORE
    weights = torch.tensor([1.0, 2.0, 3.0])
    full = functional.interpolate(logits, (16, 24), mode="bilinear", align_corners=False)
    entropy = functional.cross_entropy(full, labels, weights, ignore_index=IGNORE)
    torch.testing.assert_close(segmentation_loss(logits, labels, weights), entropy)
    known = labels != IGNORE
    lovasz = lovasz_softmax(full.softmax(1).permute(0, 2, 3, 1)[known], labels[known])
    monkeypatch.setattr(losses, "LOVASZ_PIXELS", 200_000)  # drawn from 624: nearly the whole
    loss = segmentation_loss(logits, labels, weights, lovasz=0.5)
    assert loss.item() == pytest.approx((entropy + 0.5 * lovasz).item(), rel=5e-3)


def test_the_gradient_reaches_every_logit_of_a_known_pixel() -> None:
    logits = torch.zeros(1, 2, 4, 4, requires_grad=True)
    labels = torch.zeros(1, 4, 4, dtype=torch.long)
    labels[:, 2:] = IGNORE
    loss = segmentation_loss(logits, labels, torch.ones(2), lovasz=1.0)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert (gradient[0, :, :2] != 0).all()
    assert (gradient[0, :, 2:] == 0).all()


def test_distillation_is_the_divergence_from_the_teachers_distribution() -> None:
    torch.manual_seed(0)
    logits, teacher = torch.randn(2, 5, 4, 6), torch.randn(2, 5, 2, 3)
    assert distillation_loss(logits, logits).item() == pytest.approx(0, abs=1e-6)
    full = functional.interpolate(teacher, (4, 6), mode="bilinear", align_corners=False)
    student, known = (x.permute(0, 2, 3, 1).reshape(-1, 5) for x in (logits, full))
    expected = torch.distributions.kl_divergence(
        torch.distributions.Categorical(logits=known),
        torch.distributions.Categorical(logits=student),
    ).mean()
    assert distillation_loss(logits, teacher).item() == pytest.approx(expected.item(), rel=1e-5)
