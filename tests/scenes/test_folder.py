"""A folder of one's own frames: what it reads, and what it says about each thing that is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from scenes.dataset import IGNORE, DatasetError, open_dataset
from scenes.folder import Folder


def write(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


def add(root: Path, name: str, size: tuple[int, int], value: int = 1, split: str = "") -> None:
    write(root / "images" / split / f"{name}.png", np.full((*size, 3), 90, np.uint8))
    write(root / "labels" / split / f"{name}.png", np.full(size, value, np.uint8))


def legend(root: Path, **data: Any) -> None:
    (root / "classes.json").write_text(json.dumps(data))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    add(tmp_path, "b", (4, 6))
    add(tmp_path, "a", (8, 5), value=0)
    legend(tmp_path, classes=["road", "car"])
    return tmp_path


def test_frames_of_several_sizes(folder: Path) -> None:
    dataset = open_dataset(f"folder:{folder}", "train")
    assert [(s.name, s.labels.shape) for s in dataset] == [("a", (8, 5)), ("b", (4, 6))]
    assert dataset.classes == ("road", "car")
    assert len(set(dataset.palette)) == 2


def test_without_split_folders_every_split_is_the_whole_folder(folder: Path) -> None:
    assert len(Folder(str(folder), "val")) == len(Folder(str(folder), "train")) == 2


def test_split_folders(tmp_path: Path) -> None:
    add(tmp_path, "x", (4, 6), split="train")
    add(tmp_path, "y", (4, 6), split="val")
    legend(tmp_path, classes=["road", "car"])
    assert [scene.name for scene in Folder(str(tmp_path), "val")] == ["y"]
    with pytest.raises(DatasetError, match=r"no split 'test' in .*images: images/ has train, val"):
        Folder(str(tmp_path), "test")


def test_a_given_palette_and_ignore_label(folder: Path) -> None:
    legend(folder, classes=["road", "car"], palette=[[1, 2, 3], [4, 5, 6]], ignore=7)
    write(folder / "labels" / "b.png", np.array([[0, 1, 7]] * 4, np.uint8).repeat(2, axis=1))
    dataset = Folder(str(folder), "train")
    assert dataset.palette == ((1, 2, 3), (4, 5, 6))
    assert dataset[1].labels[0].tolist() == [0, 0, 1, 1, IGNORE, IGNORE]


def test_255_is_ignored_whatever_the_ignore_label(folder: Path) -> None:
    legend(folder, classes=["road", "car"], ignore=7)
    write(folder / "labels" / "b.png", np.full((4, 6), 255, np.uint8))
    assert (Folder(str(folder), "train")[1].labels == IGNORE).all()


@pytest.mark.parametrize("part", ["images", "labels"])
def test_a_missing_folder_shows_the_layout(folder: Path, part: str) -> None:
    (folder / part).rename(folder / "elsewhere")
    with pytest.raises(DatasetError, match=f"no {part}/ in .*: a folder: data set is DIR/images/"):
        Folder(str(folder), "train")


def test_no_frame_at_all(folder: Path) -> None:
    for path in (folder / "images").iterdir():
        path.unlink()
    with pytest.raises(DatasetError, match=r"images holds no \.jpg"):
        Folder(str(folder), "train")


def test_a_frame_without_labels_is_named(folder: Path) -> None:
    (folder / "labels" / "b.png").unlink()
    with pytest.raises(DatasetError, match=r"labels/b\.png is missing"):
        Folder(str(folder), "train")[1]


def test_an_unreadable_image_is_named(folder: Path) -> None:
    (folder / "images" / "b.png").write_bytes(b"no picture")
    with pytest.raises(DatasetError, match=r"images/b\.png is not a readable image"):
        Folder(str(folder), "train")[1]


def test_a_label_out_of_range_is_named_with_its_file(folder: Path) -> None:
    write(folder / "labels" / "b.png", np.full((4, 6), 2, np.uint8))
    with pytest.raises(DatasetError, match=r"b.png holds the label 2, but .* \(0 to 1\)"):
        Folder(str(folder), "train")[1]


def test_sizes_must_agree(folder: Path) -> None:
    write(folder / "labels" / "b.png", np.zeros((4, 7), np.uint8))
    with pytest.raises(DatasetError, match=r"frame is 6x4 but its labels are 7x4"):
        Folder(str(folder), "train")[1]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(["road"], "must be an object", id="list"),
        pytest.param({}, '"classes" must list', id="no classes"),
        pytest.param({"classes": []}, '"classes" must list', id="empty"),
        pytest.param({"classes": ["a", "a"]}, "different names", id="twice"),
        pytest.param({"classes": ["a", 3]}, '"classes" must list', id="number"),
        pytest.param({"classes": ["a"] * 255}, "1 to 254", id="too many"),
        pytest.param({"classes": ["a"], "names": []}, "unknown key 'names'", id="unknown key"),
        pytest.param(
            {"classes": ["a", "b"], "palette": [[1, 2, 3]]},
            "2 classes but 1 palette colours",
            id="short palette",
        ),
        pytest.param(
            {"classes": ["a"], "palette": [[1, 2, 256]]}, "colours of 0 to 255", id="bad colour"
        ),
        pytest.param({"classes": ["a", "b"], "ignore": 1}, "that is no class, got 1", id="class"),
        pytest.param({"classes": ["a"], "ignore": "no"}, "got 'no'", id="bad ignore"),
    ],
)
def test_a_malformed_legend_is_explained(folder: Path, data: Any, message: str) -> None:
    (folder / "classes.json").write_text(json.dumps(data))
    with pytest.raises(DatasetError, match=message):
        Folder(str(folder), "train")


def test_a_legend_that_is_no_json(folder: Path) -> None:
    (folder / "classes.json").write_text("classes: road")
    with pytest.raises(DatasetError, match=r"classes\.json is not readable JSON"):
        Folder(str(folder), "train")


def test_a_missing_legend(folder: Path) -> None:
    (folder / "classes.json").unlink()
    with pytest.raises(DatasetError, match=r"no classes\.json at"):
        Folder(str(folder), "train")
