"""`stream.py` with its sinks: what stands in the files, however the stream ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from runtime.api import open_stream
from runtime.lane import Result
from runtime.pipeline import Stream
from runtime.sinks.label_maps import LabelMaps
from runtime.sinks.threaded import DEPTH
from runtime.stream import Progress, main

ROOT = Path(__file__).parents[3]
STREAM = [sys.executable, str(ROOT / "runtime" / "stream.py"), "--headless"]
CAMERA = "street:?size=160x120"


@pytest.fixture(autouse=True)
def no_display(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def frames_of(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def test_all_sinks_at_once_lose_no_frame_of_a_file(tiny_bundle: Path, tmp_path: Path) -> None:
    maps, lines, film = tmp_path / "maps", tmp_path / "out.jsonl", tmp_path / "out.mp4"
    numbers = tmp_path / "s.json"
    words = ["--camera", CAMERA, "--bundle", str(tiny_bundle), "--frames", "12", "--headless"]
    words += ["--labels", str(maps), "--results", str(lines), "--record", str(film)]
    assert main([*words, "--min-region", "0.01", "--json", str(numbers)]) == 0

    sinks = json.loads(numbers.read_text())["sinks"]
    assert sinks.keys() == {"record", "label maps", "results"}
    for row in sinks.values():
        assert (row["written"], row["dropped"]) == (12, 0)
        assert row["core_ms"] > 0
    assert sinks["record"]["encoder"]["codec"] in av.codecs_available
    assert [line["index"] for line in lines_of(lines)] == list(range(12))
    assert frames_of(film) == 12
    with open_stream(CAMERA, bundle=tiny_bundle) as stream:
        for result, path in zip(stream, sorted(maps.iterdir()), strict=False):
            assert path.name == f"{result.index:08}.png"
            with Image.open(path) as picture:
                np.testing.assert_array_equal(np.asarray(picture), result.labels)
            line = lines_of(lines)[result.index]
            assert line["shares"]["Sky"] == pytest.approx(result.share("Sky"), abs=1e-5)
            regions = result.regions(min_region=0.01)
            assert [tuple(region["box"]) for region in line["regions"]] == [r.box for r in regions]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--camera a.mp4 --record a.mp4", r"--record a\.mp4 would overwrite what --camera names"),
        ("--camera a.mp4 --results a.mp4", r"--results a\.mp4 would overwrite what --camera names"),
        ("--camera out-1.mp4 --camera a.mp4 --record out.mp4", r"out-1\.mp4 would overwrite what"),
        ("--camera stills --labels stills", "--labels stills would overwrite what --camera names"),
        ("--camera a.mp4 --results o.json --json o.json", "--json o.json would .* --results names"),
        ("--camera a.mp4 --camera a.mp4 --labels .", r"\. can have no number"),
    ],
)
def test_nothing_is_written_over_what_another_flag_names(
    tiny_bundle: Path,
    tmp_path: Path,
    make_video: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: str,
    told: str,
) -> None:
    film = make_video("a.mp4").read_bytes()
    (tmp_path / "out-1.mp4").write_bytes(film)
    (tmp_path / "stills").mkdir()
    Image.new("RGB", (64, 48)).save(tmp_path / "stills" / "0.jpg")
    monkeypatch.chdir(tmp_path)
    assert main([*words.split(), "--bundle", str(tiny_bundle), "--headless"]) == 2
    assert re.search(told, capsys.readouterr().err)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "out-1.mp4").read_bytes() == film


def test_what_no_file_is_may_be_named_twice(tiny_bundle: Path) -> None:
    words = ["--camera", f"{CAMERA}&frames=1", "--bundle", str(tiny_bundle), "--headless"]
    assert main([*words, "--results", os.devnull, "--json", os.devnull]) == 0


def test_several_cameras_have_files_of_their_own_and_lines_in_common(
    tiny_bundle: Path, tmp_path: Path, make_video: Callable[..., Path]
) -> None:
    one, other, out = make_video("a.mp4", 3), make_video("b.mp4", 5), tmp_path / "new"
    out.mkdir()
    words = ["--camera", str(one), "--camera", str(other), "--bundle", str(tiny_bundle)]
    words += ["--labels", str(out / "maps"), "--results", str(out / "all.jsonl"), "--headless"]
    assert main([*words, "--record", str(out / "out.mp4")]) == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "all.jsonl", "maps-0", "maps-1", "out-0.mp4", "out-1.mp4"
    ]  # fmt: skip
    lines = lines_of(out / "all.jsonl")
    for camera, count in ((0, 3), (1, 5)):
        assert [line["index"] for line in lines if line["camera"] == camera] == list(range(count))
        assert len(list((out / f"maps-{camera}").iterdir())) == count
        assert frames_of(out / f"out-{camera}.mp4") == count


def test_standard_output_has_results_alone(tiny_bundle: Path, tmp_path: Path) -> None:
    command = [*STREAM, "--camera", CAMERA, "--bundle", str(tiny_bundle)]
    done = subprocess.run(
        [*command, "--results", "-", "--frames", "5"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    assert [json.loads(line)["index"] for line in done.stdout.splitlines()] == list(range(5))
    assert "fp32 on cpu" in done.stderr
    assert "5 frames at" in done.stderr


def test_a_reader_that_leaves_ends_the_stream(tiny_bundle: Path, tmp_path: Path) -> None:
    numbers = tmp_path / "s.json"
    command = [*STREAM, "--camera", CAMERA, "--bundle", str(tiny_bundle), "--results", "-"]
    with subprocess.Popen(
        [*command, "--json", str(numbers)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["index"] == 0
        process.stdout.close()  # as `| head -1` does
        said = process.stderr.read().decode()
        assert process.wait(60) == 0
    assert "Traceback" not in said
    assert json.loads(numbers.read_text())["ended"] == "results closed"


@pytest.mark.parametrize(
    ("number", "camera"),
    [
        pytest.param(signal.SIGINT, "street:?size=160x120", id="SIGINT and a camera that waits"),
        pytest.param(signal.SIGTERM, "street:?fps=30&size=160x120", id="SIGTERM and a live one"),
    ],
)
def test_a_signal_leaves_whole_files(
    tiny_bundle: Path, tmp_path: Path, number: signal.Signals, camera: str
) -> None:
    maps, film, numbers = tmp_path / "maps", tmp_path / "out.mp4", tmp_path / "s.json"
    command = [*STREAM, "--camera", camera, "--bundle", str(tiny_bundle), "--results", "-"]
    command += ["--labels", str(maps), "--record", str(film), "--json", str(numbers)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(5)]
        process.send_signal(number)
        rest, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors.decode()
    summary = json.loads(numbers.read_text())
    assert summary["ended"] == "stopped by signal"
    for row in summary["sinks"].values():
        assert row["written"] + row["dropped"] == summary["frames"]
    lines += rest.splitlines()
    assert [json.loads(line)["index"] for line in lines] == sorted(
        json.loads(line)["index"] for line in lines
    )
    assert len(lines) == summary["sinks"]["results"]["written"]
    assert frames_of(film) == summary["sinks"]["record"]["written"]
    written = list(maps.iterdir())
    assert len(written) == summary["sinks"]["label maps"]["written"]
    for path in written:
        with Image.open(path) as picture:
            picture.load()
    assert sorted(os.listdir(tmp_path)) == ["maps", "out.mp4", "s.json"]  # noqa: PTH208  hidden ones, too


def test_a_full_disk_ends_the_stream_with_one_sentence(
    tiny_bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    real = Path.write_bytes

    def nearly_full(path: Path, data: bytes) -> int:
        if len(list((tmp_path / "maps").glob("0*.png"))) == 3:
            raise OSError(28, "No space left on device")
        return real(path, data)

    monkeypatch.setattr(Path, "write_bytes", nearly_full)
    words = ["--camera", CAMERA, "--bundle", str(tiny_bundle), "--headless"]
    words += ["--record", str(tmp_path / "out.mp4"), "--labels", str(tmp_path / "maps")]
    assert main(words) == 1
    said = capsys.readouterr()
    assert "00000003.png was not written (No space left on device)" in said.err
    assert f"kept {tmp_path / 'out.mp4'}" in said.out
    assert frames_of(tmp_path / "out.mp4") > 0
    assert len(list((tmp_path / "maps").iterdir())) == 3


def test_a_slow_sink_drops_frames_of_a_live_camera_and_counts_them(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The label maps hang until 40 results were handed over, which therefore wait for nothing."""
    numbers, handed_over = tmp_path / "s.json", threading.Event()
    real_put, real_show = LabelMaps.put, Progress.show

    def put(sink: LabelMaps, result: Result) -> bool:
        handed_over.wait()
        return real_put(sink, result)

    def show(progress: Progress, count: int, stream: Stream, result: Result) -> None:
        real_show(progress, count, stream, result)
        if count == 40:
            handed_over.set()

    monkeypatch.setattr(LabelMaps, "put", put)
    monkeypatch.setattr(Progress, "show", show)
    words = ["--camera", "street:?fps=200&size=160x120", "--bundle", str(tiny_bundle)]
    words += ["--labels", str(tmp_path / "maps"), "--headless", "--frames", "45"]
    assert main([*words, "--json", str(numbers)]) == 0
    summary = json.loads(numbers.read_text())
    maps = summary["sinks"]["label maps"]
    assert maps["dropped"] >= 40 - 1 - DEPTH
    assert maps["written"] + maps["dropped"] == summary["frames"] == 45
    assert len(list((tmp_path / "maps").iterdir())) == maps["written"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--min-region", "2"], "--min-region 2: a share of the frame"),
        (["--polygon-tolerance", "-1"], "--polygon-tolerance -1: pixels"),
        (["--results", "no/out.jsonl"], "mkdir -p no"),
        (["--labels", "/dev/null/maps"], "Not a directory"),
        (["--encoder", "h264_none"], "invalid choice"),
    ],
)
def test_flags_that_cannot_be_meant(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        assert main(["--camera", "street:", *words]) == 2
    except SystemExit as exit_:  # argparse's own
        assert exit_.code == 2  # noqa: PT017
    assert message in capsys.readouterr().err
