"""What `--input` names, and under which names."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from engines.failures import UsageError
from runtime.labelling.inputs import find_inputs


def test_a_folder_is_searched_below(folder: Path, tmp_path: Path) -> None:
    (folder / ".hidden").mkdir()
    shutil.copy(folder / "z.bmp", folder / ".hidden/z.bmp")
    inputs = find_inputs([folder], tmp_path / "out")
    assert inputs.videos == {n: folder / n for n in ("b.mkv", "clips/a.mp4")}
    assert inputs.images == {n: folder / n for n in ("photos/x.png", "photos/y.jpg", "z.bmp")}
    assert inputs.describe() == "2 videos, 3 images (1 other files left alone)"


def test_a_file_that_is_named_may_have_any_ending(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "b.mkv", tmp_path / "recording.dat")
    named = [tmp_path / "recording.dat", folder / "z.bmp", folder / "z.bmp"]
    inputs = find_inputs(named, tmp_path / "out")
    assert list(inputs.videos) == ["recording.dat"]
    assert list(inputs.images) == ["z.bmp"]


def test_odd_names_are_names(folder: Path, tmp_path: Path) -> None:
    for name in ("a b.png", "$(touch x).png", "line\nbreak.png", "ü.png", "x" * 251 + ".png"):
        shutil.copy(folder / "photos/x.png", folder / name)
    assert len(find_inputs([folder], tmp_path / "out").images) == 8


def test_two_files_of_one_name_are_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "b.mkv", tmp_path / "b.mkv")
    with pytest.raises(UsageError, match=r"would both be labelled as b\.mkv"):
        find_inputs([folder, tmp_path / "b.mkv"], tmp_path / "out")


def test_an_output_among_the_inputs_is_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match="name a folder beside it"):
        find_inputs([folder], folder / "labels")


@pytest.mark.parametrize(("name", "message"), [("nowhere", "there is no such"), ("", "no video")])
def test_nothing_to_label(tmp_path: Path, name: str, message: str) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UsageError, match=message):
        find_inputs([empty / name], tmp_path / "out")
