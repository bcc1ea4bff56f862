"""A folder of pictures without labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scenes.dataset import IGNORE, DatasetError, open_dataset


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two pictures of different sizes, and one in a folder `night`."""
    (tmp_path / "night").mkdir()
    for name, size in (("b.png", (6, 4)), ("a.jpg", (8, 5)), ("night/c.png", (3, 2))):
        Image.new("RGB", size, (10, 20, 30)).save(tmp_path / name)
    return tmp_path


def test_all_pictures_by_name_and_no_label_counts(pictures: Path) -> None:
    dataset = open_dataset(f"images:{pictures}", "train")
    assert not dataset.classes
    assert not dataset.palette
    assert [(s.name, s.frame.shape, s.labels.shape) for s in dataset] == [
        ("a", (5, 8, 3), (5, 8)),
        ("b", (4, 6, 3), (4, 6)),
    ]
    assert all((scene.labels == IGNORE).all() for scene in dataset)
    np.testing.assert_array_equal(dataset[1].frame[0, 0], (10, 20, 30))


def test_a_folder_of_the_splits_name_is_the_split(pictures: Path) -> None:
    dataset = open_dataset(f"images:{pictures}", "night")
    assert [scene.name for scene in dataset] == ["c"]


def test_no_folder_and_no_pictures_are_told(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no folder"):
        open_dataset(f"images:{tmp_path / 'x'}", "train")
    with pytest.raises(DatasetError, match="holds no"):
        open_dataset(f"images:{tmp_path}", "train")


def test_a_broken_picture_is_named(pictures: Path) -> None:
    (pictures / "a.jpg").write_bytes(b"no picture")
    with pytest.raises(DatasetError, match=r"a\.jpg is not a readable image"):
        open_dataset(f"images:{pictures}", "train")[0]
