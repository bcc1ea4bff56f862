"""`doctor.py` as its users see it: a good set, poisoned ones, exit codes, JSON, files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from calibration.doctor import main
from calibration.frames import MINIMUM
from scenes.dataset import open_dataset

SIZE = (96, 128)  # the tiny bundle's
CLASSES = ("wall", "floor", "door")
Frame = NDArray[np.uint8]
MakeSet = Callable[..., Path]


def view(seed: int) -> Frame:
    """A frame like no other: 12x16 random patches of one exposure, with fine grain."""
    random = np.random.default_rng(seed)
    patches = random.integers(0, 200, (12, 16, 3)).repeat(8, axis=0).repeat(8, axis=1)
    frame = patches * random.uniform(0.5, 1.1) + random.normal(20, 12, (*SIZE, 3))
    return np.asarray(np.clip(frame, 0, 255), np.uint8)


def labels_of(frame: Frame, classes: int = len(CLASSES)) -> NDArray[np.uint8]:
    return np.asarray(frame[..., 0] % classes, np.uint8)


@pytest.fixture
def make_set(tmp_path: Path) -> MakeSet:
    """Write `folder:` splits of frames; the folder."""

    def make(name: str = "set", classes: int = len(CLASSES), **splits: Iterable[Frame]) -> Path:
        root = tmp_path / name
        root.mkdir()
        (root / "classes.json").write_text(json.dumps({"classes": CLASSES}))
        for split, frames in splits.items():
            for part in ("images", "labels"):
                (root / part / split).mkdir(parents=True)
            for index, frame in enumerate(frames):
                Image.fromarray(frame).save(root / "images" / split / f"{index:03}.png")
                labels = Image.fromarray(labels_of(frame, classes))
                labels.save(root / "labels" / split / f"{index:03}.png")
        return root

    return make


def views(first: int, count: int) -> list[Frame]:
    return [view(seed) for seed in range(first, first + count)]


def examined(root: Path, *flags: str, code: int = 0) -> dict[str, Any]:
    """The JSON of a checkup."""
    out = root.parent / "doctor.json"
    assert main(["--data", f"folder:{root}", "--json", str(out), *flags]) == code
    return dict(json.loads(out.read_text()))


def codes(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {warning["code"]: warning for warning in result["warnings"]}


def test_a_good_set_has_no_warning(make_set: MakeSet, capsys: pytest.CaptureFixture[str]) -> None:
    root = make_set(train=views(0, 100), val=views(500, 3))
    result = examined(root, "--strict")
    assert result["warnings"] == []
    assert (result["frames"], result["frames_in_split"], result["distinct"]) == (100, 100, 100)
    assert result["compared_with"] == ["val"]
    assert result["enough_frames"] is None  # no model to ask
    assert [share["name"] for share in result["classes"]] == list(CLASSES)
    assert sum(share["pixels"] for share in result["classes"]) == pytest.approx(100)
    assert len(result["looks"]) == 100
    assert "no warning" in capsys.readouterr().out


def test_a_poisoned_set_is_told_by_name(
    make_set: MakeSet, capsys: pytest.CaptureFixture[str]
) -> None:
    """Black frames, copies, val frames mixed in, a broken file, labels of a missing class."""
    good, val = views(0, 12), views(500, 4)
    black = np.zeros((*SIZE, 3), np.uint8)
    root = make_set(classes=2, train=[*good, black, good[0], good[0], val[1], val[2]], val=val)
    shutil.copy(root / "classes.json", root / "images" / "train" / "099.png")
    result = examined(root, "--strict", code=3)
    found = codes(result)
    expected = {"unreadable", "few-frames", "blank", "duplicates", "class-missing", "leak"}
    assert set(found) >= expected
    assert found["blank"]["frames"] == ["012"]
    assert found["duplicates"]["frames"] == ["013", "014"]
    assert found["leak"]["frames"] == ["015", "016"]
    assert found["unreadable"]["frames"] == ["frame 17"]
    assert "099.png is not a readable image" in found["unreadable"]["message"]
    assert "no frame shows door" in found["class-missing"]["message"]
    out = capsys.readouterr().out
    for code in expected:
        assert f"WARNING {code}: " in out
    assert examined(root)["warnings"] == result["warnings"]  # and exit code 0


def test_three_frames_are_too_few(make_set: MakeSet) -> None:
    found = codes(examined(make_set(train=views(0, 3), val=views(9, 2))))
    assert f"a build refuses fewer than {MINIMUM}" in found["few-frames"]["message"]


def test_the_evaluation_split_is_named(
    make_set: MakeSet, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_set(train=views(0, 4), val=views(9, 4))
    found = codes(examined(root, "--split", "val"))
    assert "val is the split that reports are measured on" in found["evaluation-split"]["message"]
    data = ["--data", f"folder:{root}"]
    assert main([*data, "--against", "train"]) == 2
    assert "--against train is the split that is examined" in capsys.readouterr().err
    other = make_set("other", val=views(20, 2))
    both = examined(root, "--against", "val", "--against", f"folder:{other}/val")
    assert both["compared_with"] == ["val", f"folder:{other} val"]


def test_a_folder_without_splits_is_its_own_evaluation_split(
    make_set: MakeSet, tmp_path: Path
) -> None:
    root = make_set(train=views(0, 3))
    for part in ("images", "labels"):
        for path in list((root / part / "train").iterdir()):
            path.rename(root / part / path.name)
        (root / part / "train").rmdir()
    found = codes(examined(root))
    assert len(found["leak"]["frames"]) == 3
    assert "has the same frames under every split's name" in found["leak"]["message"]


def test_no_evaluation_split_is_said(make_set: MakeSet, capsys: pytest.CaptureFixture[str]) -> None:
    root = make_set(train=views(0, 3))
    assert examined(root)["compared_with"] == []
    assert "compared with: no evaluation split" in capsys.readouterr().out
    assert main(["--data", f"folder:{root}", "--against", "val"]) == 6  # asked for by name


def test_an_evaluation_split_that_cannot_be_read_is_a_warning(
    make_set: MakeSet, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_set(train=views(0, 3), val=views(500, 2))
    (root / "labels" / "val" / "000.png").unlink()
    result = examined(root)
    some, count = codes(result)["unreadable"]["message"], len(result["warnings"])
    assert f"{count} warning{'s' if count > 1 else ''}\n" in capsys.readouterr().out
    assert "1 of 2 frames is unreadable in val" in some
    assert "000.png is missing" in some
    (root / "labels" / "val" / "001.png").unlink()
    assert "2 of 2 frames are unreadable in val" in codes(examined(root))["unreadable"]["message"]


def test_pictures_without_labels_are_no_evaluation_split(
    make_set: MakeSet, tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures, copied = make_set(train=views(0, 20)) / "images" / "train", tmp_path / "few"
    flags = ["--data", f"images:{pictures}", "--bundle", str(tiny_bundle), "--copy-to", str(copied)]
    assert main(flags) == 0
    out = capsys.readouterr().out
    assert "compared with: no evaluation split" in out
    assert "WARNING leak" not in out
    assert f"--data images:{copied}" in out
    assert len(open_dataset(f"images:{copied}", "train")) == MINIMUM


def test_a_model_tells_how_many_are_enough(
    make_set: MakeSet, tiny_bundle: Path, tmp_path: Path
) -> None:
    frames = [np.asarray(90 + frame // 8, np.uint8) for frame in views(0, 40)]
    frames[19][:16, :16], frames[20][:16, :16] = 0, 255
    root = make_set(train=frames, val=views(9, 1))
    copied, plot = tmp_path / "few", tmp_path / "doctor.png"
    flags = ["--bundle", str(tiny_bundle), "--copy-to", str(copied), "--plot", str(plot)]
    result = examined(root, *flags)
    assert result["subset"] == ["019", "020"]
    assert result["enough_frames"] is None
    assert "ranges-grow" in codes(result)
    assert len(result["curve"]) == 40
    assert result["curve"][-1] == 1
    few = open_dataset(f"folder:{copied}", "train")
    assert len(few) == MINIMUM  # a build takes no fewer
    names = [scene.name for scene in few]
    assert {"019", "020"} <= set(names)
    original = open_dataset(f"folder:{root}", "train")[20]
    copy = few[names.index("020")]
    assert np.array_equal(copy.frame, original.frame)
    assert np.array_equal(copy.labels, original.labels)
    with Image.open(plot) as picture:
        assert min(picture.size) > 500
    result = examined(root, "--bundle", str(tiny_bundle), "--fidelity")
    assert [score["frames"] for score in result["fidelity"]] == [4, 8, 15, 30]


def test_alike_frames_are_soon_enough(make_set: MakeSet, tiny_bundle: Path) -> None:
    frames = [np.roll(view(0), shift, axis=1) for shift in range(0, 96, 4)]
    result = examined(make_set(train=frames, val=views(9, 1)), "--bundle", str(tiny_bundle))
    assert result["enough_frames"] <= 12
    assert "ranges-grow" not in codes(result)


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        pytest.param(["--data", "nothing"], 6, "unknown dataset", id="no dataset"),
        pytest.param(["--data", "folder:nowhere"], 6, "no images/ in nowhere", id="no folder"),
        pytest.param(["--data", "street:", "--frames", "0"], 2, "at least 1", id="no frames"),
        pytest.param(["--data", "street:", "--copy-to", "x"], 2, "add --bundle", id="no bundle"),
        pytest.param(["--data", "street:", "--fidelity"], 2, "add --bundle", id="no model"),
        pytest.param(["--data", "street:", "--plot", "x.pdf"], 2, "a .png or", id="plot"),
        pytest.param(
            ["--data", "street:", "--against", "camvid:x"], 2, "expected a split, or", id="against"
        ),
        pytest.param(
            ["--data", "street:", "--copy-to", ".", "--bundle", "x"], 2, "not empty", id="target"
        ),
        pytest.param(["--data", "street:", "--bundle", "nowhere"], 6, "no bundle at", id="bundle"),
    ],
)  # fmt: skip
def test_bad_input_is_one_sentence_and_an_exit_code(
    flags: list[str],
    code: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "something").touch()
    assert main(flags) == code
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error


def test_nothing_readable_is_refused(make_set: MakeSet, capsys: pytest.CaptureFixture[str]) -> None:
    root = make_set(train=views(0, 1))
    (root / "images" / "train" / "000.png").write_bytes(b"no picture")
    assert main(["--data", f"folder:{root}"]) == 6
    assert "not one calibration frame can be read" in capsys.readouterr().err


@pytest.mark.data
def test_camvid_is_no_bad_set(deeplab_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "d.json"
    data = f"camvid:{deeplab_data / 'camvid'}"
    assert main(["--data", data, "--frames", "24", "--json", str(out)]) == 0
    result = json.loads(out.read_text())
    assert set(codes(result)) <= {"few-frames", "class-rare"}
    assert result["distinct"] >= 20
