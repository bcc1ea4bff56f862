"""Frames of many sizes: trained on, scored, and fitted to the model's input one by one."""

from __future__ import annotations

import json
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models import segmentation

from engines.spec import ModelSpec
from export.build_engine import main as build_engine
from scenes.dataset import Colour, Scene, open_dataset
from scenes.voc import CLASSES, PALETTE
from train.evaluate import main as evaluate
from train.evaluation import mean_iou
from train.fit import main as fit
from train.import_checkpoint import main as import_checkpoint
from train.samples import preload

SIZES = ((64, 96), (96, 64), (50, 121), (128, 128))
COW, PERSON = CLASSES.index("cow"), CLASSES.index("person")


@pytest.fixture(scope="module")
def voc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 train and 4 val frames of four sizes: a cow beside a person, in VOC's colours."""
    root = tmp_path_factory.mktemp("voc")
    for split, count in (("train", 16), ("val", 4)):
        names = [f"{split}_{index}" for index in range(count)]
        for index, name in enumerate(names):
            height, width = SIZES[index % len(SIZES)]
            labels = np.full((height, width), COW, np.uint8)
            labels[:, width // 2 :] = PERSON
            frame = Image.fromarray(np.array(PALETTE, np.uint8)[labels])
            labels[:2] = 255
            for folder, picture in (("JPEGImages", frame), ("SegmentationClass", labels)):
                (root / folder).mkdir(exist_ok=True)
                if isinstance(picture, Image.Image):
                    picture.save(root / folder / f"{name}.jpg", quality=95)
                else:
                    Image.fromarray(picture).save(root / folder / f"{name}.png")
        (root / "ImageSets" / "Segmentation").mkdir(parents=True, exist_ok=True)
        (root / "ImageSets" / "Segmentation" / f"{split}.txt").write_text("\n".join(names))
    return root


def test_a_network_learns_frames_of_mixed_sizes(voc: Path, tmp_path: Path) -> None:
    """Stretched to 64x64, cropped, and scored at each frame's own size."""
    report = tmp_path / "fit.json"
    flags = f"--data voc:{voc} --run {tmp_path / 'run'} --name tiny --epochs 2 --batch 8"
    flags += f" --input-size 64x64 --crop 64x64 --validate-every 2 --ema 0 --json {report}"
    assert fit(flags.split()) == 0
    done = json.loads(report.read_text())
    assert done["miou"] > 10  # of 21 classes, two occur
    flags = f"--checkpoint {done['checkpoint']} --data voc:{voc} --split val --json {report}"
    assert evaluate(flags.split()) == 0
    assert json.loads(report.read_text())["miou"] == pytest.approx(done["miou"], abs=0.01)


def test_masks_are_scored_at_each_frames_size(voc: Path) -> None:
    """A model that is right everywhere at 64x64 is right at every size: borders lie on its grid."""
    spec = ModelSpec("x", "x", CLASSES, PALETTE, (64, 64), (0.0,) * 3, (1.0,) * 3)

    def predict(frame: np.ndarray) -> np.ndarray:
        assert frame.shape == (64, 64, 3)
        logits = np.zeros((len(CLASSES), 16, 16), np.float32)
        logits[COW, :, :8], logits[PERSON, :, 8:] = 1, 1
        return logits

    assert mean_iou(predict, spec, open_dataset(f"voc:{voc}", "val")) > 98


class Large:
    """Frames that tell when they are let go."""

    classes: tuple[str, ...] = CLASSES
    palette: tuple[Colour, ...] = PALETTE

    def __init__(self) -> None:
        self.frames: list[weakref.ref[np.ndarray]] = []
        self.most = 0

    def alive(self) -> int:
        return sum(frame() is not None for frame in self.frames)

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> Scene:
        frame = np.full((256, 512, 3), index, np.uint8)
        self.frames.append(weakref.ref(frame))
        self.most = max(self.most, self.alive())
        return Scene(str(index), frame, np.zeros((256, 512), np.uint8))

    def __iter__(self) -> Iterator[Scene]:
        return (self[index] for index in range(len(self)))


def test_preloading_keeps_only_the_fitted_frames() -> None:
    """2975 frames of Cityscapes with labels are 25 GB as they are, 2 GB at 360x480."""
    dataset = Large()
    scenes = preload(dataset, (32, 64))
    assert dataset.most <= 2  # the one being fitted and the one just read
    assert dataset.alive() == 0
    assert sum(owned(scene.frame) + owned(scene.labels) for scene in scenes) < 6 * 32 * 64 * 6


def owned(array: np.ndarray) -> int:
    """Bytes kept alive by an array: those of what it is a view of."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array.nbytes


@pytest.mark.slow
def test_an_imported_checkpoint_is_scored_and_deployed(voc: Path, tmp_path: Path) -> None:
    """torchvision's file -> checkpoint -> graphs equal to PyTorch -> INT8 on the CPU, scored."""
    torch.manual_seed(0)
    network = segmentation.deeplabv3_mobilenet_v3_large(weights=None, weights_backbone=None)
    torch.save(network.state_dict(), tmp_path / "theirs.pth")
    out, bundle, report = tmp_path / "ours", tmp_path / "bundle", tmp_path / "built.json"
    flags = f"--from torchvision --weights {tmp_path / 'theirs.pth'} --classes voc --out {out}"
    assert import_checkpoint([*flags.split(), "--input-size", "64x96"]) == 0
    checkpoint = out / "theirs.safetensors"
    flags = f"--int8 --target cpu --checkpoint {checkpoint} --data voc:{voc} --out {bundle}"
    flags += " --scheme percentile"  # too few frames to hold some out
    assert build_engine(f"{flags} --json {report}".split()) == 0
    parity = json.loads(report.read_text())["parity"]
    assert parity["onnx_max_abs"] < 1e-4
    assert parity["label_agreement"] > 0.9999
    scores, data = [], f"--data voc:{voc} --split val"
    for source in (f"--checkpoint {checkpoint}", f"--bundle {bundle} --precision fp32"):
        assert evaluate([*f"{source} {data} --json {report}".split()]) == 0
        scores.append(json.loads(report.read_text())["pixel_accuracy"])
    assert scores[0] == pytest.approx(scores[1], abs=0.01)
    assert evaluate(f"--bundle {bundle} --precision int8 {data}".split()) == 0
