"""The sheet of a video's frames."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from runtime.contact_sheet import main


def test_a_sheet_shows_frames_side_by_side(make_video: Callable[..., Path], tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    words = ["--columns", "2", "--rows", "2", "--width", "100"]
    assert main([str(make_video("a.mp4", 9)), str(sheet), *words]) == 0
    with Image.open(sheet) as picture:
        assert (picture.format, picture.width) == ("PNG", 100)


@pytest.mark.parametrize(
    ("picture", "code", "told"),
    [
        ("sheet.jpg", 2, "sheet.jpg: give it a name that ends in .png"),
        ("folder.png", 2, "folder.png is a folder"),
        ("sheet.png", 5, "text.mp4 is not a readable video: Invalid data found"),
    ],
)
def test_what_cannot_be_is_told_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], picture: str, code: int, told: str
) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "folder.png").mkdir()
    assert main([str(tmp_path / "text.mp4"), str(tmp_path / picture)]) == code
    assert told in capsys.readouterr().err
    assert not (tmp_path / "sheet.jpg").exists()
