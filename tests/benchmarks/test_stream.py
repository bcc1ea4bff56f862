"""The stream benchmark: the loops label alike, the numbers mean what they say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks import stream, stream_cameras, stream_loops
from benchmarks.contenders import plain_onnxruntime
from benchmarks.stream_loops import Loop, enlarge_by_opencv, enlarge_by_torch
from engines.bundle import Bundle
from engines.session import open_session
from engines.twins import upsample

CAMERA = "street:?size=160x120&frames=14"


def test_a_whole_run(tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "s.json"
    flags = ["--bundle", str(tiny_bundle), "--camera", CAMERA, "--precision", "fp32"]
    flags += ["--live", "street:?fps=60&size=160x120&frames=20", "--laps", "2", "--frames", "14"]
    flags += ["--cameras", "0"]
    assert stream.main([*flags, "--json", str(out)]) == 0
    result = json.loads(out.read_text())
    plain = [row for row in result["results"] if row["peer"] == "onnxruntime-fp32"]
    assert [row["name"] for row in plain] == ["fp32", "default"]  # a tiny model has no CRF
    assert plain[0]["agreement"] > 0.99
    for row in result["results"]:
        assert row["ratio"] == pytest.approx(row["peer_ms"] / row["ours_ms"])
        assert row["ours_fps"] == pytest.approx(1e3 / row["ours_ms"])
        assert row["ours_core_ms"] > 0
    assert result["live"]["age_p99_ms"] >= result["live"]["age_p50_ms"] > 0
    assert result["live"]["first_mask_s"] > 0
    assert result["cameras"] == []
    assert "torch-eager" in result["skipped"]  # no checkpoint
    assert "first mask" in capsys.readouterr().out


def test_a_lap_of_cameras_counts_all_of_them(tiny_bundle: Path) -> None:
    cameras = [f"street:?frames={frames}&size=96x64" for frames in (5, 3)]
    lap = stream_cameras.run_lap([cameras], ("--bundle", str(tiny_bundle)))
    assert (lap.frames, lap.dropped) == (8, 0)
    assert lap.core_seconds > 0
    assert lap.seconds > 0


@pytest.mark.slow
def test_cameras_together_and_each_by_itself(
    tiny_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--bundle", str(tiny_bundle), "--target", "cpu", "--precision", "fp32")
    rows = stream_cameras.run_cameras(stream_cameras.Plan(flags, 2, 6, 1, 60.0))
    assert [(row.processes, row.cameras) for row in rows] == [(1, 2), (2, 2), (1, 1)] * 2
    assert [row.paced_fps for row in rows] == [None] * 3 + [60.0] * 3
    for row in rows:
        assert row.fps > 0
        assert 0 < row.age_p50_ms <= row.age_p99_ms
        assert row.rss_mb > 10
    assert all(row.dropped == 0 for row in rows[:3])
    stream_cameras.show_cameras(rows)
    assert "2 cameras, a stream each" in capsys.readouterr().out


def test_a_stream_that_fails_is_no_measurement(
    tiny_bundle: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RuntimeError, match=r"ended with \[5\]"):
        stream_cameras.run_lap([["/dev/video99"]], ("--bundle", str(tiny_bundle)))
    assert "/dev/video99" in capfd.readouterr().err


@pytest.mark.parametrize("enlarge", [enlarge_by_opencv, enlarge_by_torch])
def test_peers_enlarge_as_the_oracle_does(enlarge: stream_loops.Enlarge) -> None:
    logits = np.random.default_rng(0).normal(0, 1, (11, 9, 13)).astype(np.float32)
    assert np.abs(enlarge(logits, (36, 52)) - upsample(logits, (36, 52))).max() < 1e-5


def test_a_video_is_read_by_opencv_as_by_us(tmp_path: Path, tiny_bundle: Path) -> None:
    path = str(tmp_path / "v.mp4")
    video = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*"mp4v"), 30, (160, 120))
    for level in range(12):
        video.write(np.full((120, 160, 3), (20 * level, 90, 40), np.uint8))
    video.release()
    frames = list(stream_loops.read(path))
    assert len(frames) == 12
    assert frames[5][0, 0] == pytest.approx([40, 90, 100], abs=4)  # RGB
    bundle = Bundle.open(tiny_bundle)
    theirs = stream_loops.plain_loop(plain_onnxruntime(bundle, 1), bundle, enlarge_by_opencv)
    with open_session(bundle, "fp32", "cpu") as session:
        ours = stream_loops.our_stream("fp32", session, "off", temporal=False)
        pairs = zip(ours.frames(path), theirs.frames(path), strict=True)
        assert np.mean([np.mean(a == b) for a, b in pairs]) > 0.95


def test_a_lap_times_what_comes_after_the_warm_up() -> None:
    labels = np.zeros((4, 6), np.uint8)
    left: list[int] = []

    def frames(camera: str) -> Iterator[np.ndarray[tuple[int, int], np.dtype[np.uint8]]]:
        for index in range(100):
            left.append(index)
            yield labels

    options = stream.Options(frames=stream.WARM_UP + 3)
    lap = stream.run_lap(Loop("x", "off", frames), options)
    assert len(left) == stream.WARM_UP + 3
    assert len(lap.labels) == stream.WARM_UP + 3
    assert lap.ms >= 0


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (["--camera", "street:?fps=30"], 2, "is live"),
        (["--frames", "5"], 2, "untimed"),
        (["--laps", "0"], 2, "at least 1"),
        (["--cameras", "-1"], 2, "0 for none"),
        (["--camera", "street:?frames=4"], 5, "has 4 frames"),
    ],
)
def test_bad_requests(
    flags: list[str], code: int, said: str, tiny_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--bundle", str(tiny_bundle), "--precision", "fp32", *flags]
    assert stream.main(command) == code
    assert said in capsys.readouterr().err


def test_our_stream_is_the_command_s_own(tiny_bundle: Path) -> None:
    with open_session(Bundle.open(tiny_bundle), "fp32", "cpu") as session:
        loops = stream.our_loops(session)
        assert [loop.crf for loop in loops] == ["off", "fast", "exact", "off"]
        for loop in loops:
            assert [labels.shape for labels in islice(loop.frames(CAMERA), 2)] == [(120, 160)] * 2
