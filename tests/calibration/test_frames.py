"""Calibration frames: evenly spread, never shared between observing and judging, never rubbish."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from calibration.frames import HELD_OUT, MINIMUM, CalibrationFrames, divide
from engines.failures import Refused, UsageError
from scenes.dataset import DatasetError

SIZE = (12, 16)


def write_folder(root: Path, count: int, flat: int = 0) -> str:
    """A `folder:` data set of `count` frames, the first `flat` of them black."""
    random = np.random.default_rng(0)
    for part in ("images", "labels"):
        (root / part).mkdir(parents=True)
    (root / "classes.json").write_text(json.dumps({"classes": ["road", "car"]}))
    for index in range(count):
        frame = random.integers(0, 256, (24, 32, 3), np.uint8) * np.uint8(index >= flat)
        Image.fromarray(frame).save(root / "images" / f"{index:03}.png")
        Image.fromarray(np.zeros((24, 32), np.uint8)).save(root / "labels" / f"{index:03}.png")
    return f"folder:{root}"


@given(st.integers(1, 500), st.integers(1, 300), st.integers(0, 100))
def test_observed_and_held_out_frames_are_disjoint_and_spread(
    count: int, limit: int, held_out: int
) -> None:
    observed, judged = divide(count, limit, held_out)
    assert not set(observed) & set(judged)
    assert len(set(observed) | set(judged)) == min(limit + held_out, count)
    assert len(judged) <= held_out
    assert len(observed) <= limit
    if len(observed) < limit:
        assert len(judged) == min(held_out, count // 4)
    assert all(0 <= index < count for index in (*observed, *judged))
    assert observed == sorted(observed)
    if len(judged) > 1:
        gaps = np.diff(judged)
        assert gaps.max() - gaps.min() <= 2 * (1 + count / min(limit + held_out, count))


def test_without_held_out_frames_the_choice_is_that_of_linspace() -> None:
    observed, judged = divide(367, 200, 0)
    assert observed == np.linspace(0, 366, 200).round().astype(int).tolist()
    assert judged == []


def test_held_out_frames_lie_between_observed_ones() -> None:
    observed, judged = divide(300, 260, HELD_OUT)
    assert (len(observed), len(judged)) == (260, HELD_OUT)
    assert observed[0] < judged[0]
    assert judged[-1] < observed[-1]
    assert max(np.diff(observed)) <= 3


def test_frames_are_fitted_and_divided_alike_each_time(tmp_path: Path) -> None:
    spec = write_folder(tmp_path, 24)
    observed, judged = CalibrationFrames.open_divided(spec, "train", SIZE, 100)
    assert (len(observed), len(judged)) == (18, 6)
    assert all(frame.shape == (*SIZE, 3) for frame in observed)
    again, _ = CalibrationFrames.open_divided(spec, "train", SIZE, 100)
    assert again.digest() == observed.digest() != judged.digest()
    pixels = {frame.tobytes() for frame in observed}
    assert not pixels & {frame.tobytes() for frame in judged}


def test_the_digest_follows_pixels_not_names_or_order(tmp_path: Path) -> None:
    spec = write_folder(tmp_path, MINIMUM)
    digest = CalibrationFrames.open(spec, "train", SIZE, 100).digest()
    images = sorted((tmp_path / "images").iterdir())
    images[0].rename(tmp_path / "images" / "zzz.png")
    (tmp_path / "labels" / "000.png").rename(tmp_path / "labels" / "zzz.png")
    assert CalibrationFrames.open(spec, "train", SIZE, 100).digest() == digest
    pixels = np.asarray(Image.open(images[1])).copy()
    pixels[:2, :2] ^= 255
    Image.fromarray(pixels).save(images[1])
    assert CalibrationFrames.open(spec, "train", SIZE, 100).digest() != digest
    assert CalibrationFrames.open(spec, "train", (24, 32), 100).digest() != digest


def test_three_frames_are_refused(tmp_path: Path) -> None:
    spec = write_folder(tmp_path, 3)
    with pytest.raises(Refused, match=f"only 3 frames in split train.*at least {MINIMUM}"):
        CalibrationFrames.open(spec, "train", SIZE, 100)


def test_too_few_frames_to_hold_some_out_are_refused(tmp_path: Path) -> None:
    spec = write_folder(tmp_path, 20)
    assert len(CalibrationFrames.open(spec, "train", SIZE, 100)) == 20
    with pytest.raises(Refused, match="only 15 frames in split train beside 5 to judge schemes"):
        CalibrationFrames.open_divided(spec, "train", SIZE, 100)


def test_no_more_frames_are_observed_than_were_asked_for(tmp_path: Path) -> None:
    spec = write_folder(tmp_path, 24)
    observed, judged = CalibrationFrames.open_divided(spec, "train", SIZE, MINIMUM)
    assert (len(observed), len(judged)) == (MINIMUM, 24 - MINIMUM)
    with pytest.raises(UsageError, match=f"--frames 5: .* at least {MINIMUM}"):
        CalibrationFrames.open_divided(spec, "train", SIZE, 5)


def test_blank_frames_are_refused(tmp_path: Path) -> None:
    frames = CalibrationFrames.open(write_folder(tmp_path, 20, flat=3), "train", SIZE, 100)
    with pytest.raises(Refused, match="3 of 20 calibration frames are blank"):
        frames.digest()


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\nno picture"])
def test_an_unreadable_file_is_named(tmp_path: Path, content: bytes) -> None:
    frames = CalibrationFrames.open(write_folder(tmp_path, 20), "train", SIZE, 100)
    (tmp_path / "images" / "007.png").write_bytes(content)
    with pytest.raises(DatasetError, match=r"007\.png"):
        frames.digest()
