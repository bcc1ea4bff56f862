"""Label maps are read back with Pillow: the very indices, in the classes' colours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engines.failures import Failure, UsageError
from runtime.lane import Result
from runtime.sinks.label_maps import LabelMaps, check_folder

PALETTE = ((200, 0, 0), (0, 200, 0), (0, 0, 200))


def test_labels_come_back_as_they_were(tmp_path: Path, make_result: Callable[..., Result]) -> None:
    results = [make_result(index, size=(33, 47)) for index in (0, 9, 10, 123_456)]
    with LabelMaps(tmp_path, PALETTE) as sink:
        assert all(sink.put(result) for result in results)
    files = sorted(tmp_path.iterdir())
    assert [path.name for path in files] == [
        "00000000.png", "00000009.png", "00000010.png", "00123456.png"
    ]  # fmt: skip
    for path, result in zip(files, results, strict=True):
        with Image.open(path) as picture:
            assert picture.mode == "P"
            np.testing.assert_array_equal(np.asarray(picture), result.labels)
            assert picture.convert("RGB").getpixel((0, 32)) == (0, 0, 200)
        assert path.stat().st_mode & 0o777 == 0o644


def test_a_full_disk_is_one_sentence_and_no_half_file(
    tmp_path: Path, make_result: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with LabelMaps(tmp_path, PALETTE) as sink:
        sink.put(make_result(0))
        monkeypatch.setattr(Path, "write_bytes", full)
        with pytest.raises(Failure, match=r"00000001\.png was not written \(No space left.*df -h"):
            sink.put(make_result(1))
    assert [path.name for path in tmp_path.iterdir()] == ["00000000.png"]


def test_two_runs_are_never_mixed(tmp_path: Path, make_result: Callable[..., Result]) -> None:
    folder = tmp_path / "new" / "labels"
    check_folder(folder)
    check_folder(folder)
    with LabelMaps(folder, PALETTE) as sink:
        sink.put(make_result(0))
    with pytest.raises(UsageError, match=r"holds 00000000\.png: name a new folder"):
        check_folder(folder)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"--labels .*file/labels: Not a directory"):
        check_folder(tmp_path / "file" / "labels")
    with pytest.raises(UsageError, match=r"--labels .*file: File exists"):
        check_folder(tmp_path / "file")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_disk_that_is_really_full(
    tmp_path: Path, make_result: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    def written_to_a_full_disk(path: Path, data: bytes) -> None:
        with open("/dev/full", "wb") as full:  # noqa: PTH123  Path.write_bytes is what is replaced
            full.write(data)

    monkeypatch.setattr(Path, "write_bytes", written_to_a_full_disk)
    with LabelMaps(tmp_path, PALETTE) as sink, pytest.raises(Failure, match="No space left"):
        sink.put(make_result(0))
    assert list(tmp_path.iterdir()) == []
