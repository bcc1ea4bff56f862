"""Training samples: image and labels move together; padding is ignored; other datasets mix in."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from scenes.dataset import IGNORE, DatasetError, Scene
from train.samples import Samples, augmentation, class_weights, fit_scene

SIZE, CROP = (64, 96), (48, 80)


def black_and_white() -> Scene:
    """White where the label is 1, black where it is 0, with a shape of no symmetry."""
    labels = np.zeros(SIZE, np.uint8)
    labels[10:40, 8:50] = 1
    labels[30:60, 40:60] = 1
    return Scene("shape", np.repeat(labels[..., None] * np.uint8(255), 3, axis=2), labels)


def test_labels_follow_the_image_through_scale_crop_and_mirror() -> None:
    torch.manual_seed(0)
    samples = Samples([black_and_white()], augmentation(SIZE, CROP))
    for _ in range(20):
        image, labels = samples[0]
        assert (image.shape, image.dtype) == ((3, *CROP), torch.uint8)
        assert (labels.shape, labels.dtype) == (CROP, torch.int64)
        assert set(labels.flatten().tolist()) <= {0, 1, IGNORE}
        grey, known = image.float().mean(dim=0), labels != IGNORE
        white = grey > (grey[known].min() + grey[known].max()) / 2
        if 0.05 < (labels[known] == 1).float().mean() < 0.95:
            assert (white == (labels == 1))[known].float().mean() > 0.93  # edges blur


def test_a_crop_beyond_the_frame_is_ignored_there() -> None:
    torch.manual_seed(0)
    _, labels = Samples([black_and_white()], augmentation(SIZE, (256, 256)))[0]
    assert (labels == IGNORE).sum() >= 256 * 256 - 4 * SIZE[0] * SIZE[1]


def test_frames_of_another_dataset_are_drawn_anew_each_time() -> None:
    torch.manual_seed(0)
    others = [replace(black_and_white(), name=str(number)) for number in range(100)]
    samples = Samples([black_and_white()], augmentation(SIZE, SIZE), others, mixed_in=3)
    assert len(samples) == 4
    drawn = {samples.scene(index).name for index in (1, 2, 3, 1, 2, 3)}
    assert len(drawn) >= 4
    assert samples.scene(0).name == "shape"


def test_a_scene_of_another_size_is_stretched_like_a_deployed_frame() -> None:
    scene = black_and_white()
    fitted = fit_scene(scene, (128, 192))
    assert fitted.frame.shape == (128, 192, 3)
    assert np.array_equal(fitted.labels[::2, ::2], scene.labels)
    far_apart = replace(scene, labels=scene.labels * np.uint8(200))
    assert set(np.unique(fit_scene(far_apart, (100, 150)).labels)) == {0, 200}  # none between
    assert fit_scene(scene, SIZE).frame is scene.frame


def test_class_weights_fall_with_the_share_of_pixels() -> None:
    labels = np.array([[0, 0, 0, 1], [IGNORE] * 4], np.uint8)
    expected = [1 / math.log(1.1 + share) for share in (0.75, 0.25, 0.0)]
    assert class_weights([labels], 3).tolist() == pytest.approx(expected)


def test_labels_without_a_class_are_refused() -> None:
    with pytest.raises(DatasetError, match="no labelled pixel"):
        class_weights([np.full((2, 2), IGNORE, np.uint8)], 3)
