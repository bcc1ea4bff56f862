"""A CamVid folder so small that a network learns it in seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engines.spec import ModelSpec
from scenes.camvid import CLASSES, PALETTE

SKY, ROAD, CAR = CLASSES.index("Sky"), CLASSES.index("Road"), CLASSES.index("Car")
VOID = 11


@pytest.fixture(scope="session")
def camvid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """train/ and val/ of 4 frames each, 64x96: sky over road, a car, every class in its colour."""
    root = tmp_path_factory.mktemp("camvid")
    for split in ("train", "val"):
        for index in range(4):
            write_frame(root, split, index)
    return root


def write_frame(root: Path, split: str, index: int) -> None:
    labels = np.full((64, 96), SKY, np.uint8)
    labels[28 + index :] = ROAD
    labels[30:52, 10 + 12 * index : 46 + 12 * index] = CAR
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
