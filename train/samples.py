"""Training samples: frames held in memory, drawn with random scale, crop and colours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset
from torchvision import tv_tensors
from torchvision.transforms import v2
from tqdm import tqdm

from engines.preprocess import fit_frame
from scenes.dataset import IGNORE, Dataset, DatasetError, Labels, Scene
from train.class_mix import ClassMix, Sample


def fit_scene(scene: Scene, size: tuple[int, int]) -> Scene:
    """Stretch a scene to the model's input size, as deployment does; labels by nearest pixel."""
    labels = Image.fromarray(scene.labels).resize(size[::-1], Image.Resampling.NEAREST)
    return Scene(scene.name, fit_frame(scene.frame, size), np.asarray(labels))


def preload(dataset: Dataset, size: tuple[int, int]) -> list[Scene]:
    """Decode a whole dataset once: 0.7 MB a scene at 480x360."""
    scenes = (dataset[index] for index in range(len(dataset)))
    progress = tqdm(scenes, "reading frames", len(dataset), disable=None)
    return [fit_scene(scene, size) for scene in progress]


def class_weights(labels: Sequence[Labels], classes: int) -> Tensor:
    """1 / ln(1.1 + p) with p the pixel share of a class (ENet, Paszke et al. 2016;
    their 1.02 spreads the weights wider). Raises `DatasetError` without a labelled pixel."""
    counts: NDArray[np.int64] = sum(
        (np.bincount(item.ravel(), minlength=256)[:classes] for item in labels),
        start=np.zeros(classes, np.int64),
    )
    if not counts.any():
        raise DatasetError("no labelled pixel in the training frames: are all labels ignore?")
    share = counts / counts.sum()
    return torch.from_numpy(1 / np.log(1.1 + share)).float()


def augmentation(
    size: tuple[int, int],
    crop: tuple[int, int],
    scale: tuple[float, float] = (0.5, 2.0),
    colour: float = 0.4,
) -> v2.Compose:
    """Mirror, scale, crop (padded with grey and ignore), vary brightness, contrast and saturation
    by up to `colour`, and the hue by an eighth of it.

    Scales and mirroring as in DeepLab v3, section 4.1; colours because CamVid holds only a few
    drives, each in one light.
    """
    fill = {tv_tensors.Image: 127, tv_tensors.Mask: IGNORE}
    return v2.Compose(
        [
            v2.RandomHorizontalFlip(),
            v2.ScaleJitter(size, scale_range=scale),
            v2.RandomCrop(crop, pad_if_needed=True, fill=fill),
            v2.ColorJitter(colour, colour, colour, colour / 8),
        ]
    )


class Samples(TorchDataset[Sample]):
    """Augmented crops: every one of `scenes` once, plus `mixed_in` of `others`, drawn anew;
    `class_mix` may paste rare classes of other scenes into each."""

    def __init__(
        self,
        scenes: Sequence[Scene],
        augment: v2.Compose,
        others: Sequence[Scene] = (),
        mixed_in: int = 0,
        class_mix: ClassMix | None = None,
    ) -> None:
        self._scenes, self._others, self._mixed_in = scenes, others, mixed_in
        self._augment, self._class_mix = augment, class_mix

    def __len__(self) -> int:
        return len(self._scenes) + self._mixed_in

    def __getitem__(self, index: int) -> Sample:
        sample = self.augmented(self.scene(index))
        donor = self._class_mix.donor() if self._class_mix else None
        if donor is None:
            return sample
        assert self._class_mix is not None
        return self._class_mix.paste(self.augmented(donor), sample)

    def augmented(self, scene: Scene) -> Sample:
        """A random crop of a scene, in random colours."""
        image = tv_tensors.Image(torch.from_numpy(scene.frame.copy()).permute(2, 0, 1))
        image, labels = self._augment(image, tv_tensors.Mask(torch.from_numpy(scene.labels.copy())))
        return image.as_subclass(Tensor), labels.as_subclass(Tensor).long()

    def scene(self, index: int) -> Scene:
        """The scene behind sample `index`."""
        if index < len(self._scenes):
            return self._scenes[index]
        return self._others[int(torch.randint(len(self._others), ()))]
