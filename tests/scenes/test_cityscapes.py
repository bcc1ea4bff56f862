"""The Cityscapes reader on a tiny folder of its layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scenes.cityscapes import CLASSES, PALETTE
from scenes.dataset import IGNORE, DatasetError, open_dataset

NAMES = (("bonn", "bonn_000001_000019"), ("aachen", "aachen_000000_000019"))


def write(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two frames of one row whose labels are all ids, 0 to 33."""
    ids = np.arange(34, dtype=np.uint8)[None]
    for city, name in NAMES:
        frame = np.zeros((1, 34, 3), np.uint8)
        write(tmp_path / "leftImg8bit" / "val" / city / f"{name}_leftImg8bit.png", frame)
        write(tmp_path / "gtFine" / "val" / city / f"{name}_gtFine_labelIds.png", ids)
    return tmp_path


def labels_of(root: Path) -> Path:
    return root / "gtFine" / "val" / "aachen" / "aachen_000000_000019_gtFine_labelIds.png"


def test_frames_come_city_by_city(root: Path) -> None:
    dataset = open_dataset(f"cityscapes:{root}", "val")
    assert [scene.name for scene in dataset] == ["aachen_000000_000019", "bonn_000001_000019"]
    assert len(dataset) == 2


def test_label_ids_become_train_ids(root: Path) -> None:
    """The evaluated ids, in their order, are 0 to 18; the other 15 are ignored."""
    labels = open_dataset(f"cityscapes:{root}", "val")[0].labels[0]
    evaluated = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
    assert labels[evaluated].tolist() == list(range(19))
    assert (np.delete(labels, evaluated) == IGNORE).all()


def test_classes_and_colours() -> None:
    assert len(CLASSES) == len(PALETTE) == len(set(PALETTE)) == 19
    known = {"road": (128, 64, 128), "person": (220, 20, 60), "bicycle": (119, 11, 32)}
    assert {name: PALETTE[CLASSES.index(name)] for name in known} == known


def test_no_such_split_lists_those_that_exist(root: Path) -> None:
    with pytest.raises(DatasetError, match=r"no Cityscapes split at .*test: .* its splits are val"):
        open_dataset(f"cityscapes:{root}", "test")
    with pytest.raises(DatasetError, match=r"give the folder with leftImg8bit/ and gtFine/$"):
        open_dataset(f"cityscapes:{root / 'gtFine'}", "val")


def test_an_empty_split_is_refused(root: Path) -> None:
    (root / "leftImg8bit" / "train" / "bonn").mkdir(parents=True)
    with pytest.raises(DatasetError, match=r"holds no CITY/NAME_leftImg8bit\.png"):
        open_dataset(f"cityscapes:{root}", "train")


def test_missing_and_broken_labels_are_named(root: Path) -> None:
    path = labels_of(root)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(DatasetError, match=r"labelIds\.png is not a readable image"):
        open_dataset(f"cityscapes:{root}", "val")[0]
    path.unlink()
    with pytest.raises(DatasetError, match=r"labelIds\.png is missing"):
        open_dataset(f"cityscapes:{root}", "val")[0]


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (np.full((1, 34), 255, np.uint8), r"holds the label 255: Cityscapes' ids end at 33"),
        (np.zeros((34, 1), np.uint8), r"frame is 34x1 but its labels are 1x34"),
        (np.zeros((1, 34, 3), np.uint8), r"is no label image: .* got mode RGB"),
    ],
)
def test_labels_that_do_not_fit_are_refused(root: Path, labels: np.ndarray, sentence: str) -> None:
    write(labels_of(root), labels)
    with pytest.raises(DatasetError, match=sentence):
        open_dataset(f"cityscapes:{root}", "val")[0]
