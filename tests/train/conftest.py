"""A CamVid folder so small that a network learns it in seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from engines.spec import ModelSpec
from scenes.camvid import CLASSES, PALETTE

SKY, ROAD, CAR = CLASSES.index("Sky"), CLASSES.index("Road"), CLASSES.index("Car")
VOID = 11


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Two threads over maps this small mostly wait for each other."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def camvid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 train and 4 val frames, 64x96: sky over road, a car, every class in its colour."""
    root = tmp_path_factory.mktemp("camvid")
    for split, count in (("train", 16), ("val", 4)):
        for index in range(count):
            write_frame(root, split, index)
    return root


def write_frame(root: Path, split: str, index: int) -> None:
    labels = np.full((64, 96), SKY, np.uint8)
    labels[28 + index % 4 :] = ROAD
    labels[30:52, 10 + 3 * index : 46 + 3 * index] = CAR
    frame = np.array(PALETTE, np.uint8)[labels]
    labels[:, :2] = VOID
    for folder, picture in ((split, frame), (f"{split}annot", labels)):
        path = root / folder / f"{index:03d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(picture).save(path)


@pytest.fixture(scope="session")
def spec() -> ModelSpec:
    """The spec of a small MobileNetV2 network with CamVid's classes."""
    return ModelSpec(
        name="tiny",
        architecture="deeplabv3plus_mobilenetv2",
        classes=CLASSES,
        palette=PALETTE,
        input_size=(64, 96),
        mean=(127.5, 127.5, 127.5),
        std=(127.5, 127.5, 127.5),
    )
