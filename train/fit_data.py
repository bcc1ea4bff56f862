"""What a training run sees: its datasets, opened and agreeing, and the samples of an epoch."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np

from engines.failures import Refused, UsageError
from engines.spec import ModelSpec
from scenes.dataset import IGNORE, Dataset, DatasetError, Scene, open_dataset
from train.class_mix import ClassMix
from train.fit_options import Options
from train.samples import Samples, augmentation


@dataclass(frozen=True)
class Data:
    """The datasets of a run, opened."""

    training: list[Dataset]
    validation: Dataset
    mix: Dataset | None


def open_data(options: Options) -> Data:
    """Open every dataset; two that disagree about the classes raise `Refused`."""
    training = [open_dataset(name, options.split) for name in options.data]
    validation = open_dataset(options.val_data or options.data[0], options.val_split)
    mix = open_dataset(options.mix, options.split) if options.mix else None
    for other in [*training[1:], validation, *([mix] if mix else [])]:
        if other.classes != training[0].classes:
            raise Refused(
                f"the datasets disagree about the classes: {', '.join(training[0].classes)} "
                f"and {', '.join(other.classes)}"
            )
    if not any((scene.labels != IGNORE).any() for scene in validation):
        raise DatasetError("no labelled pixel in the validation frames: are all labels ignore?")
    if any(same_frames(dataset, validation) for dataset in training):
        print(
            f"warning: {options.val_split} has the very frames of {options.split}, so its mIoU "
            "tells nothing of others: give the data set split folders, or name others to validate "
            "on with --val-data",
            file=sys.stderr,
        )
    return Data(training, validation, mix)


def same_frames(one: Dataset, other: Dataset) -> bool:
    """Whether two splits are one, as all splits of a folder without split folders are; told by
    their number and the first and last frame."""
    if len(one) != len(other):
        return False
    pairs = [(one[index], other[index]) for index in (0, len(one) - 1)]
    return all(a.name == b.name and np.array_equal(a.frame, b.frame) for a, b in pairs)


def check_crop(options: Options, spec: ModelSpec) -> None:
    """A crop that no scale fills would be padding and ignored pixels in every sample."""
    largest = [int(side * options.scale[1]) for side in spec.input_size]
    if any(crop > side for crop, side in zip(options.crop, largest, strict=True)):
        raise UsageError(
            f"--crop {options.crop[0]}x{options.crop[1]} is larger than any frame: at most "
            f"{largest[0]}x{largest[1]}, the input size times the largest --scale"
        )


def samples_of(
    scenes: list[Scene], others: list[Scene], spec: ModelSpec, options: Options
) -> Samples:
    """The samples of an epoch: all scenes, and as many mixed-in ones as make up their share."""
    share = options.mix_share
    mixed_in = round(len(scenes) * share / (1 - share)) if others else 0
    augment = augmentation(spec.input_size, options.crop, options.scale, options.colour)
    mixing = ClassMix(scenes, len(spec.classes), options.class_mix) if options.class_mix else None
    samples = Samples(scenes, augment, others, mixed_in, mixing)
    if len(samples) < options.batch:
        raise Refused(
            f"{len(samples)} frames do not fill a batch of {options.batch}: lower --batch"
        )
    return samples
