"""Nothing half-written, ever: the old content survives a failure at any moment."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engines.atomic import replacing, replacing_folder, write_text


def test_a_failure_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_text(path, "old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_the_temporary_file_keeps_the_suffix_that_encoders_go_by(tmp_path: Path) -> None:
    with replacing(tmp_path / "clip.mp4") as temporary:
        assert temporary.suffix == ".mp4"


def test_a_pipe_is_written_to_and_stays_one(tmp_path: Path) -> None:
    """Root would put a file in the place of /dev/null, for every program of the machine."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_text(pipe, "text")
    assert os.read(reading, 9) == b"text"
    os.close(reading)
    assert pipe.is_fifo()
    assert [p.name for p in tmp_path.iterdir()] == ["pipe"]


def test_an_error_names_the_file_that_was_meant(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="Is a directory") as caught:
        write_text(tmp_path / "folder", "text")
    assert caught.value.filename == str(tmp_path / "folder")


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    for content in ("one", "two"):
        with replacing_folder(target) as folder:
            (folder / content).write_text(content)
    assert [p.name for p in target.iterdir()] == ["two"]
    assert [p.name for p in tmp_path.iterdir()] == ["bundle"]


def test_a_failed_rebuild_keeps_the_old_folder(tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    with replacing_folder(target) as folder:
        (folder / "good").write_text("good")
    with pytest.raises(KeyboardInterrupt), replacing_folder(target) as folder:
        (folder / "half").write_text("half")
        raise KeyboardInterrupt
    assert [p.name for p in target.iterdir()] == ["good"]
    assert [p.name for p in tmp_path.iterdir()] == ["bundle"]


def test_ctrl_c_between_the_two_renames_keeps_the_old_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "bundle"
    with replacing_folder(target) as folder:
        (folder / "good").write_text("good")
    rename, interrupted = Path.rename, list[Path]()

    def interrupt(path: Path, to: Path) -> Path:
        if to == target and not interrupted:
            interrupted.append(path)
            raise KeyboardInterrupt
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", interrupt)
    with pytest.raises(KeyboardInterrupt), replacing_folder(target) as folder:
        (folder / "new").write_text("new")
    assert [p.name for p in target.iterdir()] == ["good"]
    assert [p.name for p in tmp_path.iterdir()] == ["bundle"]


@pytest.mark.skipif(os.name != "posix", reason="Windows opens no folders")
def test_the_new_folder_is_on_the_disk_before_the_old_one_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "bundle"
    target.mkdir()
    flushed: list[tuple[int, bool]] = []  # inode, and whether the new folder was in place

    def fsync(descriptor: int) -> None:
        flushed.append((os.fstat(descriptor).st_ino, (target / "golden").exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    with replacing_folder(target) as folder:
        (folder / "golden").mkdir()
        (folder / "golden" / "0.png").write_text("a picture")
    written = (target / "golden", target / "golden" / "0.png", target)
    assert sorted(flushed[:-1]) == sorted((path.stat().st_ino, False) for path in written)
    assert flushed[-1] == (tmp_path.stat().st_ino, True)


def test_a_link_to_a_folder_stays_and_leads_to_the_new_one(tmp_path: Path) -> None:
    target, link = tmp_path / "disk" / "bundle", tmp_path / "current"
    target.mkdir(parents=True)
    (target / "old").write_text("old")
    link.symlink_to(target)
    with replacing_folder(link) as folder:
        (folder / "new").write_text("new")
    assert link.is_symlink()
    assert [p.name for p in target.iterdir()] == ["new"]
    assert {p.name for p in tmp_path.iterdir()} == {"disk", "current"}


@pytest.mark.skipif(os.name != "posix", reason="Windows has no umask")
def test_new_folders_are_not_every_users_to_write(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        write_text(tmp_path / "a" / "b" / "c.json", "x")
    finally:
        os.umask(before)
    modes = [(tmp_path / name).stat().st_mode & 0o777 for name in ("a", "a/b", "a/b/c.json")]
    assert modes == [0o775, 0o775, 0o644]
