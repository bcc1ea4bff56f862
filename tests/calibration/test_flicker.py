"""The flicker command: what it measures, on which clips, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.stream import VideoStream
from PIL import Image

from calibration.clips import open_clip
from calibration.flicker import main
from scenes.camvid import PALETTE
from scenes.street import StreetCamera

COUNT = 6


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """A still wall between two classes of the tiny model, under a sensor's noise."""
    rng = np.random.default_rng(0)
    between = (np.array(PALETTE[3], float) + PALETTE[4]) / 2
    path = tmp_path / "wall.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "bgr0"
        for _ in range(COUNT):
            frame = np.clip(between + rng.normal(0, 3, (96, 128, 3)), 0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def test_evidence_steadies_a_noisy_wall(video: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "f.json"
    assert main([str(video), "--bundle", str(tiny_bundle), "--json", str(out)]) == 0
    result = json.loads(out.read_text())
    (row,) = result["rows"]
    assert (row["clip"], row["frames"]) == ("wall.mkv", COUNT)
    assert row["still_percent"] > 80
    assert 0 < row["on"]["flicker"] < 0.6 * row["off"]["flicker"]
    assert row["on"]["miou"] is None
    assert row["truth_flicker"] is None
    assert row["core_ms"] > 0
    assert str(tmp_path) not in out.read_text()


@pytest.mark.parametrize("crf", ["off", "exact"])
def test_a_street_has_a_truth_to_follow(
    crf: str, tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "f.json"
    arguments = ["street:?seed=2", "--frames", "3", "--crf", crf, "--bundle", str(tiny_bundle)]
    assert main([*arguments, "--json", str(out)]) == 0
    (row,) = json.loads(out.read_text())["rows"]
    for column in (row["off"], row["on"]):
        assert all(0 <= score <= 100 for score in column.values())
        assert column["followed"] + column["ghosts"] <= 100
    assert "street 2" in capsys.readouterr().out


def test_a_street_clip_is_the_cameras_own_sequence() -> None:
    clip = open_clip("street:?seed=4", "val", 3)
    camera = StreetCamera(seed=4)
    for index, (frame, truth) in enumerate(clip.frames):
        np.testing.assert_array_equal(frame, camera.scene(index).frame)
        np.testing.assert_array_equal(truth, camera.scene(index).labels)
    assert index == 2


@pytest.fixture
def other_classes(tmp_path: Path) -> Path:
    root = tmp_path / "own"
    for name, mode in (("images", "RGB"), ("labels", "L")):
        (root / name).mkdir(parents=True)
        Image.new(mode, (64, 48)).save(root / name / "a.png")
    (root / "classes.json").write_text(json.dumps({"classes": ["road", "rest"]}))
    return root


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["missing.mp4"], 6, "no clip 'missing.mp4'"),
        (["notes.mp4"], 6, "is not a video"),
        (["folder:own"], 6, "other classes"),
        (["street:?seed=x"], 2, "no whole number"),
        (["street:?size=64x48"], 6, "no option"),
        (["street:", "--frames", "1"], 2, "at least 2"),
        (["street:", "--bundle", "nowhere"], 6, "nowhere"),
    ],
)
def test_what_is_refused_is_one_sentence(
    arguments: list[str],
    code: int,
    message: str,
    tiny_bundle: Path,
    tmp_path: Path,
    other_classes: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.mp4").write_text("these are notes\n" * 50)
    if "--bundle" not in arguments:
        arguments = [*arguments, "--bundle", str(tiny_bundle)]
    assert main(arguments) == code
    error = capsys.readouterr().err
    assert message in error
    assert error.splitlines()[-1].startswith("error: ")


@pytest.mark.slow
@pytest.mark.data
def test_the_bundled_model_flickers_less_on_camvid_and_loses_nothing(
    deeplab_data: Path, tmp_path: Path
) -> None:
    from export.build_engine import main as build

    bundle, out = tmp_path / "bundle", tmp_path / "f.json"
    assert build(["--fp32", "--target", "cpu", "--out", str(bundle)]) == 0
    clip = f"camvid:{deeplab_data / 'camvid'}"
    assert main([clip, "--bundle", str(bundle), "--json", str(out)]) == 0
    (row,) = json.loads(out.read_text())["rows"]
    off, on = row["off"], row["on"]  # 0.42 -> 0.11, 73.9 -> 74.3, 65.0 -> 65.4
    assert on["flicker"] < 0.5 * off["flicker"]
    assert on["miou"] > off["miou"]
    assert on["boundary_f"] > off["boundary_f"] - 0.2
    assert on["followed"] > off["followed"] - 1.5  # 62.6 -> 61.5
