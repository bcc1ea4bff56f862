"""Recordings are read back with FFmpeg: right frames, right size, right times, however they end."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from engines.failures import Failure, UsageError
from runtime.lane import Result
from runtime.sinks import encoders
from runtime.sinks.recorder import Recorder, check_recordable

Images = list[NDArray[np.uint8]]
Levels = Callable[[Sequence[NDArray[np.uint8]]], list[int]]


def grey(index: int, size: tuple[int, int] = (48, 64)) -> NDArray[np.uint8]:
    return np.full((*size, 3), 20 + 10 * index, np.uint8)


def read(path: Path) -> tuple[Images, list[float]]:
    """All frames of a video, and their times in seconds."""
    with av.open(str(path)) as container:
        pictures = list(container.decode(video=0))
    return [np.asarray(p.to_ndarray(format="rgb24"), np.uint8) for p in pictures], [
        p.time for p in pictures
    ]


@pytest.mark.parametrize("name", ["out.mp4", "out.mkv", "out.MOV"])
def test_a_recording_holds_every_picture_at_its_time(
    tmp_path: Path, levels: Levels, name: str
) -> None:
    path = tmp_path / name
    with Recorder(path, 25) as recorder:
        for index in range(10):
            recorder.write(grey(index), index / 25)
    images, times = read(path)
    assert levels(images) == list(range(10))
    assert times == pytest.approx([index / 25 for index in range(10)], abs=1e-3)
    assert list(tmp_path.iterdir()) == [path]


def test_times_of_a_live_source_are_kept(tmp_path: Path) -> None:
    at = [0.0, 0.031, 0.2, 0.2, 0.15, 1.0]  # uneven, repeated, and once backwards
    with Recorder(tmp_path / "out.mp4", 30) as recorder:
        for index, seconds in enumerate(at):
            recorder.write(grey(index), seconds)
    _, times = read(tmp_path / "out.mp4")
    assert times == pytest.approx([0.0, 0.031, 0.2, 0.2, 0.2, 1.0], abs=1e-3)
    assert len(set(times)) == 6


@pytest.mark.parametrize("name", ["out.mp4", "out.mkv", "out.mov"])
@pytest.mark.parametrize(
    ("at", "shown"),
    [
        ([50_000.0, 50_000.04, 50_001.0], [0, 0.04, 1]),  # begun after half a day
        ([0.0, 50_000.0, 50_000.04], [0, 3600, 3600.04]),  # half a day away
        ([7e6 + 36_000.0 * i for i in range(8)], [3600 * i for i in range(8)]),
        ([0.0, 0.04, 1.96, 0.0, 0.04, 1.0], [0, 0.04, 1.96, 2, 2.04, 3]),  # two films in one
    ],
    ids=["late", "away", "often", "joined"],
)
def test_a_recording_plays_whatever_the_clock_does(
    tmp_path: Path, name: str, at: list[float], shown: list[float]
) -> None:
    with Recorder(tmp_path / name, 25) as recorder:
        for index, seconds in enumerate(at):
            recorder.write(grey(index), seconds)
    assert read(tmp_path / name)[1] == pytest.approx(shown, abs=1e-3)


@pytest.mark.parametrize(
    ("size", "recorded"),
    [((48, 64), (48, 64)), ((47, 63), (48, 64)), ((1, 1), (2, 2)), ((33, 64), (34, 64))],
)
def test_odd_sizes_are_padded_not_refused(
    tmp_path: Path, size: tuple[int, int], recorded: tuple[int, int]
) -> None:
    with Recorder(tmp_path / "out.mp4", 25) as recorder:
        for index in range(3):
            recorder.write(grey(5, size), index / 25)
    images, _ = read(tmp_path / "out.mp4")
    assert [image.shape for image in images] == [(*recorded, 3)] * 3
    assert images[0].mean() == pytest.approx(70, abs=3)


def test_colours_survive(tmp_path: Path) -> None:
    colours = [(200, 30, 20), (20, 180, 40), (30, 40, 190), (255, 255, 255), (0, 0, 0)]
    with Recorder(tmp_path / "out.mp4", 25) as recorder:
        for index, colour in enumerate(colours):
            recorder.write(np.full((48, 64, 3), colour, np.uint8), index / 25)
    images, _ = read(tmp_path / "out.mp4")
    for image, colour in zip(images, colours, strict=True):
        assert image.mean(axis=(0, 1)) == pytest.approx(colour, abs=6)


def test_the_file_says_how_its_colours_are_meant(tmp_path: Path) -> None:
    with Recorder(tmp_path / "out.mp4", 25) as recorder:
        recorder.write(grey(1), 0.0)
    with av.open(str(tmp_path / "out.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (context.colorspace, context.color_primaries, context.color_trc) == (1, 1, 1)


def test_pictures_of_another_size_are_stretched_to_the_first(tmp_path: Path) -> None:
    with Recorder(tmp_path / "out.mp4", 25) as recorder:
        recorder.write(grey(1), 0.0)
        recorder.write(grey(2, (96, 100)), 0.04)
    images, _ = read(tmp_path / "out.mp4")
    assert [image.shape for image in images] == [(48, 64, 3)] * 2


@pytest.mark.parametrize("fps", [29.97, 12.5, 1 / 3, 1000.0, 59.94])
def test_any_frame_rate_is_recorded(tmp_path: Path, fps: float) -> None:
    with Recorder(tmp_path / "out.mp4", fps) as recorder:
        for index in range(4):
            recorder.write(grey(index), index / fps)
    _, times = read(tmp_path / "out.mp4")
    assert times == pytest.approx([index / fps for index in range(4)], abs=1e-3)


def test_a_failing_stream_leaves_a_playable_file(
    tmp_path: Path, levels: Levels, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "out.mp4"
    with pytest.raises(ZeroDivisionError), Recorder(path, 25) as recorder:
        for index in range(4):
            recorder.write(grey(index), index / 25)
        _ = 1 / 0
    assert levels(read(path)[0]) == [0, 1, 2, 3]
    assert "out.mp4: 4 frames" in capsys.readouterr().out


def test_without_pictures_there_is_no_file_and_an_old_one_stays(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    path.write_bytes(b"old")
    with Recorder(path, 25):
        pass
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_old_recording_is_replaced_only_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    path.write_bytes(b"old")
    with Recorder(path, 25) as recorder:
        recorder.write(grey(1), 0.0)
        assert path.read_bytes() == b"old"
    assert len(read(path)[0]) == 1


def test_a_recording_ends_while_there_is_room_for_its_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, levels: Levels
) -> None:
    with (
        pytest.raises(Failure, match=r"out\.mp4 ended, as only 1 MB are free"),
        Recorder(tmp_path / "out.mp4", 25) as recorder,
    ):
        for index in range(3):
            recorder.write(grey(index), index / 25)
        nearly_full = SimpleNamespace(free=1 << 20)
        monkeypatch.setattr(shutil, "disk_usage", lambda folder: nearly_full)
        recorder.write(grey(3), 3 / 25)
    assert levels(read(tmp_path / "out.mp4")[0]) == [0, 1, 2]


def test_a_full_disk_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    recorder = Recorder(tmp_path / "out.mp4", 25)
    recorder.write(grey(1), 0.0)
    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(Failure, match=r"out\.mp4 was not finished: No space left.*df -h"):
        recorder.close()
    assert list(tmp_path.iterdir()) == []


def test_without_x264_mpeg4_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(av, "codecs_available", {"mpeg4"})
    encoders._first_that_works.cache_clear()
    with Recorder(tmp_path / "out.mp4", 25) as recorder:
        for index in range(3):
            recorder.write(grey(index), index / 25)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.video[0].codec_context.name == "mpeg4"
    assert read(tmp_path / "out.mp4")[1] == pytest.approx([0, 0.04, 0.08], abs=2e-3)
    encoders._first_that_works.cache_clear()


def test_results_are_recorded_and_those_without_a_picture_are_not(
    tmp_path: Path, make_result: Callable[..., Result]
) -> None:
    with Recorder(tmp_path / "out.mp4", 25) as recorder:
        assert all(recorder.put(make_result(index)) for index in range(3))
        assert recorder.put(replace(make_result(3), picture=None))
    assert recorder.frames == 3
    assert recorder.choice is not None
    assert read(tmp_path / "out.mp4")[1] == pytest.approx([0, 0.04, 0.08], abs=2e-3)


def test_another_pixel_format_keeps_the_colours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nv12 = encoders.Encoder("libx264", {"crf": "20"}, "nv12")  # as QSV and AMF take it
    choice = encoders.Choice(nv12, "hardware")
    monkeypatch.setattr("runtime.sinks.recorder.choose_encoder", lambda *_: choice)
    with Recorder(tmp_path / "out.mp4", 25) as recorder:
        recorder.write(np.full((48, 64, 3), (200, 30, 20), np.uint8), 0.0)
    assert read(tmp_path / "out.mp4")[0][0].mean(axis=(0, 1)) == pytest.approx((200, 30, 20), abs=6)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("out.gif", r"ends in \.mp4, \.mkv, \.mov"),
        ("out", r"ends in \.mp4"),
        ("missing/out.mp4", r"no folder .*missing; mkdir -p .*missing"),
        ("folder.mp4", "is a folder"),
    ],
)
def test_where_a_recording_cannot_go(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(UsageError, match=message):
        check_recordable(tmp_path / name)


def test_a_folder_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    with pytest.raises(UsageError, match="no permission to write to"):
        check_recordable(tmp_path / "out.mp4")


def test_the_clock_is_exact_for_the_usual_rates() -> None:
    from runtime.sinks.recorder import CLOCK

    for rate in (24, 25, 30, 50, 60, Fraction(30000, 1001)):
        assert (1 / Fraction(rate) / CLOCK).denominator == 1
