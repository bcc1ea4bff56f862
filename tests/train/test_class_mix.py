"""Rare classes are pasted, whole, with their labels, and each as often as the others."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from scenes.dataset import IGNORE, Scene
from train.class_mix import ClassMix
from train.samples import Samples, augmentation

SIZE = (48, 64)


def scene(name: str, *rare: int) -> Scene:
    """Class 0 above class 1, with an 6x6 square of each class in `rare`."""
    labels = np.zeros(SIZE, np.uint8)
    labels[24:] = 1
    for index in rare:
        labels[30:36, 8 * index : 8 * index + 6] = index
    return Scene(name, np.repeat((labels * 20)[..., None], 3, axis=2), labels)


def test_rare_is_below_a_third_of_an_equal_share_and_present() -> None:
    mixing = ClassMix([scene("a", 2), scene("b", 3), scene("c")], 5, 1.0)
    assert mixing.rare.tolist() == [2, 3]  # 4 never occurs


def test_each_rare_class_donates_equally_often() -> None:
    torch.manual_seed(0)
    scenes = [scene("sign", 2), *(scene(f"pole{i}", 3) for i in range(9))]
    drawn = [ClassMix(scenes, 5, 1.0).donor() for _ in range(200)]
    kinds = Counter(donor.name[:4] for donor in drawn if donor)
    assert kinds["sign"] == pytest.approx(100, abs=30)
    assert kinds.total() == 200


def test_the_probability_holds_and_no_rare_class_means_no_donor() -> None:
    torch.manual_seed(0)
    mixing = ClassMix([scene("sign", 2)], 5, 0.3)
    assert sum(mixing.donor() is not None for _ in range(300)) == pytest.approx(90, abs=30)
    assert ClassMix([scene("plain")], 2, 1.0).donor() is None


def test_pixels_and_labels_of_rare_classes_alone_are_copied() -> None:
    mixing = ClassMix([scene("a", 2)], 5, 1.0)
    donor = torch.full((3, 2, 4), 9, dtype=torch.uint8), torch.tensor([[2, 2, 0, IGNORE]] * 2)
    receiver = torch.zeros(3, 2, 4, dtype=torch.uint8), torch.tensor([[0, 1, 1, 1]] * 2)
    image, labels = mixing.paste(donor, receiver)
    assert labels.tolist() == [[2, 2, 1, 1]] * 2
    assert image.tolist() == [[[9, 9, 0, 0]] * 2] * 3


def test_samples_receive_rare_classes() -> None:
    torch.manual_seed(0)
    scenes = [scene("plain"), scene("sign", 2)]
    mixing = ClassMix(scenes, 5, 1.0)
    samples = Samples(scenes[:1], augmentation(SIZE, SIZE, (1.0, 1.0)), class_mix=mixing)
    image, labels = samples[0]
    assert (labels == 2).any()
    assert (image.shape, image.dtype, labels.dtype) == ((3, *SIZE), torch.uint8, torch.int64)
