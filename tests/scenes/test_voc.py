"""The VOC reader on a tiny devkit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scenes.dataset import IGNORE, DatasetError, open_dataset
from scenes.voc import CLASSES, PALETTE

SIZES = {"2007_000032": (6, 9), "2007_000033": (8, 5)}  # VOC's frames differ in size


def write(path: Path, values: np.ndarray, palette: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(values)
    if palette:
        image.putpalette([channel for colour in PALETTE for channel in colour])
    image.save(path)


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    """VOCdevkit/VOC2012; its label values are the class indices, in columns."""
    root = tmp_path / "VOCdevkit" / "VOC2012"
    for name, (height, width) in SIZES.items():
        labels = np.arange(width, dtype=np.uint8)[None].repeat(height, 0)
        labels[:, 0] = IGNORE
        write(root / "JPEGImages" / f"{name}.jpg", np.zeros((height, width, 3), np.uint8))
        write(root / "SegmentationClass" / f"{name}.png", labels, palette=True)
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("2007_000033\n2007_000032\n\n")
    (lists / "train.txt").write_text("2007_000032\r\n")
    return root


@pytest.mark.parametrize("above", [0, 1, 2])
def test_the_devkit_is_found_at_or_below_the_folder(voc: Path, above: int) -> None:
    dataset = open_dataset(f"voc:{[voc, *voc.parents][above]}", "val")
    assert [scene.name for scene in dataset] == ["2007_000033", "2007_000032"]
    assert len(dataset) == 2


def test_palette_labels_are_read_as_indices(voc: Path) -> None:
    scene = open_dataset(f"voc:{voc}", "train")[0]
    assert scene.frame.shape == (6, 9, 3)
    assert scene.labels[5].tolist() == [IGNORE, 1, 2, 3, 4, 5, 6, 7, 8]


def test_colours_are_the_devkits() -> None:
    assert len(CLASSES) == len(PALETTE) == 21
    known = {"background": (0, 0, 0), "aeroplane": (128, 0, 0), "person": (192, 128, 128)}
    known |= {"boat": (0, 0, 128), "tvmonitor": (0, 64, 128), "cat": (64, 0, 0)}
    assert {name: PALETTE[CLASSES.index(name)] for name in known} == known


def test_augmented_labels_serve_where_the_devkit_has_none(voc: Path) -> None:
    for name in SIZES:
        labels = np.full(SIZES[name], 20, np.uint8)
        write(voc / "SegmentationClassAug" / f"{name}.png", labels)
    (voc / "SegmentationClass" / "2007_000033.png").unlink()
    dataset = open_dataset(f"voc:{voc}", "val")
    assert [int(scene.labels[0, 1]) for scene in dataset] == [20, 1]


def test_no_devkit_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no VOC data set at .*: give VOCdevkit"):
        open_dataset(f"voc:{tmp_path}", "val")


def test_no_such_split_lists_those_that_exist(voc: Path) -> None:
    with pytest.raises(DatasetError, match=r"no split 'test' in .*: it has train, val"):
        open_dataset(f"voc:{voc}", "test")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("\n", r"val\.txt names no frame"),
        ("/JPEGImages/a.jpg /SegmentationClass/a.png\n", r"must hold a frame name such as"),
        ("../2007_000032\n", r"must hold a frame name such as"),
    ],
)
def test_a_list_of_another_form_is_refused(voc: Path, text: str, sentence: str) -> None:
    (voc / "ImageSets" / "Segmentation" / "val.txt").write_text(text)
    with pytest.raises(DatasetError, match=sentence):
        open_dataset(f"voc:{voc}", "val")


@pytest.mark.parametrize(
    "part", ["JPEGImages/2007_000032.jpg", "SegmentationClass/2007_000032.png"]
)
def test_what_is_missing_or_broken_is_named(voc: Path, part: str) -> None:
    path = voc / part
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(DatasetError, match=rf"{part} is not a readable image"):
        open_dataset(f"voc:{voc}", "train")[0]
    path.unlink()
    with pytest.raises(DatasetError, match=rf"{part} is missing"):
        open_dataset(f"voc:{voc}", "train")[0]


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (np.full((6, 9), 21, np.uint8), r"holds the label 21: VOC's are 0 to 20 and 255"),
        (np.zeros((9, 6), np.uint8), r"frame is 9x6 but its labels are 6x9"),
        (np.zeros((6, 9, 3), np.uint8), r"is no label image: .* got mode RGB"),
    ],
)
def test_labels_that_do_not_fit_are_refused(voc: Path, labels: np.ndarray, sentence: str) -> None:
    write(voc / "SegmentationClass" / "2007_000032.png", labels)
    with pytest.raises(DatasetError, match=sentence):
        open_dataset(f"voc:{voc}", "train")[0]
