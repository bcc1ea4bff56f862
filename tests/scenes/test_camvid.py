"""The CamVid reader on a tiny folder of its layout, and on the real one where there is one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scenes.camvid import CLASSES, CamVid
from scenes.dataset import IGNORE, DatasetError, open_dataset

DRIVES = {"0001TP": 62, "0006R0": 101, "0016E5": 204}


def write(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


@pytest.fixture
def camvid(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in ("0001_b", "0001_a", "0002"):
        write(tmp_path / "val" / f"{name}.png", rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        write(tmp_path / "valannot" / f"{name}.png", rng.integers(0, 12, (6, 8), dtype=np.uint8))
    return tmp_path


def test_scenes_come_in_the_order_of_their_names(camvid: Path) -> None:
    scenes = list(open_dataset(f"camvid:{camvid}", "val"))
    assert [scene.name for scene in scenes] == ["0001_a", "0001_b", "0002"]
    assert scenes[0].frame.shape == (6, 8, 3)
    assert scenes[0].frame.dtype == scenes[0].labels.dtype == np.uint8


def test_void_and_unknown_labels_read_as_ignore(camvid: Path) -> None:
    write(camvid / "valannot" / "0002.png", np.array([[0, 10, 11, 200]] * 6, np.uint8).repeat(2, 1))
    labels = CamVid(str(camvid), "val")[2].labels
    assert labels[0].tolist() == [0, 0, 10, 10, IGNORE, IGNORE, IGNORE, IGNORE]


def test_palette_label_images_read_as_indices(camvid: Path) -> None:
    image = Image.fromarray(np.full((6, 8), 3, np.uint8))
    image.putpalette([0, 0, 0] * 3 + [128, 64, 128])
    image.save(camvid / "valannot" / "0002.png")
    assert CamVid(str(camvid), "val")[2].labels.tolist() == [[3] * 8] * 6


def test_no_such_split_says_what_to_give(camvid: Path) -> None:
    with pytest.raises(DatasetError, match=r"no CamVid split at .*test: give the folder with"):
        CamVid(str(camvid), "test")


def test_an_empty_split_is_refused(camvid: Path) -> None:
    (camvid / "test").mkdir()
    with pytest.raises(DatasetError, match=r"holds no \.jpg"):
        CamVid(str(camvid), "test")


def test_a_frame_without_labels_is_named(camvid: Path) -> None:
    (camvid / "valannot" / "0002.png").unlink()
    with pytest.raises(DatasetError, match=r"valannot/0002\.png is missing"):
        CamVid(str(camvid), "val")[2]


def test_a_truncated_frame_is_named(camvid: Path) -> None:
    path = camvid / "val" / "0002.png"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DatasetError, match=r"val/0002\.png is not a readable image"):
        CamVid(str(camvid), "val")[2]


def test_colour_labels_are_refused(camvid: Path) -> None:
    write(camvid / "valannot" / "0002.png", np.zeros((6, 8, 3), np.uint8))
    with pytest.raises(DatasetError, match=r"is no label image: .* got mode RGB"):
        CamVid(str(camvid), "val")[2]


def test_sizes_must_agree(camvid: Path) -> None:
    write(camvid / "valannot" / "0002.png", np.zeros((6, 9), np.uint8))
    with pytest.raises(DatasetError, match=r"frame is 8x6 but its labels are 9x6"):
        CamVid(str(camvid), "val")[2]


@pytest.mark.parametrize("spec", ["cityscape:x", "camvid", ""])
def test_an_unknown_data_set_lists_the_known_ones(spec: str) -> None:
    with pytest.raises(
        DatasetError, match=r"expected one of camvid:, voc:, cityscapes:, folder:, images:, street:"
    ):
        open_dataset(spec, "val")


@pytest.fixture
def drives(tmp_path: Path) -> Path:
    names = {"train": ("0001TP_1", "0006R0_f1", "0016E5_1"), "val": ("0016E5_2",)}
    for split, stems in names.items():
        for stem in stems:
            write(tmp_path / split / f"{stem}.png", np.zeros((6, 8, 3), np.uint8))
            write(tmp_path / f"{split}annot" / f"{stem}.png", np.zeros((6, 8), np.uint8))
    return tmp_path


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ("", ["0001TP_1", "0006R0_f1", "0016E5_1"]),
        ("?", ["0001TP_1", "0006R0_f1", "0016E5_1"]),
        ("?only=0006R0", ["0006R0_f1"]),
        ("?without=0006R0", ["0001TP_1", "0016E5_1"]),
        ("?without=0006R0,0001TP", ["0016E5_1"]),
        ("?only=0001TP,0006R0&without=0001TP", ["0006R0_f1"]),
    ],
)
def test_sequences_are_chosen_by_name(drives: Path, options: str, names: list[str]) -> None:
    dataset = open_dataset(f"camvid:{drives}{options}", "train")
    assert [scene.name for scene in dataset] == names
    assert len(dataset) == len(names)


def test_a_sequence_of_another_split_may_be_left_out(drives: Path) -> None:
    assert len(open_dataset(f"camvid:{drives}?without=0006R0", "val")) == 1


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("only=0006r0", r"no CamVid sequence '0006r0' in .*: it has 0001TP, 0006R0, 0016E5"),
        ("without=0006R0,", r"no CamVid sequence ''"),
        ("only=0006R0", r"leave no frame of .*val: it has 0016E5"),
        ("without=0016E5", r"leave no frame of .*val: it has 0016E5"),
        ("every=2", r"camvid: has no option 'every=2': it knows only=SEQUENCE"),
        ("only", r"camvid: has no option 'only'"),
    ],
)
def test_a_choice_that_cannot_be_met_says_why(drives: Path, options: str, sentence: str) -> None:
    with pytest.raises(DatasetError, match=sentence):
        open_dataset(f"camvid:{drives}?{options}", "val")


@pytest.mark.data
def test_the_real_sequences(deeplab_data: Path) -> None:
    whole = f"camvid:{deeplab_data / 'camvid'}"
    lengths = {name: len(open_dataset(f"{whole}?only={name}", "train")) for name in DRIVES}
    assert lengths == DRIVES
    assert len(open_dataset(f"{whole}?without=0006R0", "train")) == 62 + 204


@pytest.mark.data
def test_the_real_validation_split(deeplab_data: Path) -> None:
    dataset = open_dataset(f"camvid:{deeplab_data / 'camvid'}", "val")
    assert len(dataset) == 101
    scene = dataset[0]
    assert scene.frame.shape == (360, 480, 3)
    assert set(np.unique(scene.labels)) <= {*range(len(CLASSES)), IGNORE}
