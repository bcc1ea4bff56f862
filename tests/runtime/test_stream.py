"""`stream.py` as its users see it: exit codes, one sentence, files, JSON."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import av
import numpy as np
import pytest
from PIL import Image

from engines.bundle import Bundle
from engines.spec import CrfParams
from runtime import refiner
from runtime.lane import Result
from runtime.source import Frame
from runtime.sources.street import StreetSource
from runtime.stream import Progress, main

ROOT = Path(__file__).parents[2]
KEYS = {
    "frames",
    "fps",
    "stages",
    "overhead_core_ms",
    "frame_age",
    "dropped",
    "damaged",
    "reconnects",
    "compare",
    "shadow",
    "peak_rss_mb",
    "ended",
    "precision",
    "target",
    "bundle",
    "camera",
    "cameras",
    "crf",
    "crf_iterations",
    "temporal",
    "record",
    "labels",
    "results",
    "sinks",
    "drift",
    "exit_code",
}


@pytest.fixture(autouse=True)
def no_display(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)


def decoded(path: Path) -> list[tuple[int, int]]:
    """Width and height of each frame of a recording."""
    with av.open(str(path)) as container:
        return [(frame.width, frame.height) for frame in container.decode(video=0)]


def test_a_video_is_segmented_recorded_and_measured(
    tiny_bundle: Path,
    make_video: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    video = make_video(count=12, size=(90, 120), fps=10)
    out, numbers = tmp_path / "out.mp4", tmp_path / "s.json"
    arguments = ["--camera", str(video), "--bundle", str(tiny_bundle), "--headless"]
    assert main([*arguments, "--record", str(out), "--json", str(numbers)]) == 0
    assert decoded(out) == [(120, 90)] * 12
    with av.open(str(out)) as container:
        assert container.streams.video[0].average_rate == 10

    result = json.loads(numbers.read_text())
    assert result.keys() == KEYS
    assert result["frames"] == 12
    assert (result["dropped"], result["damaged"], result["reconnects"]) == (0, 0, 0)
    assert result["ended"] == "end of source"
    assert result["crf"].startswith("off")
    assert result["temporal"] == "on"
    assert (result["precision"], result["target"]) == ("fp32", "cpu")
    stages = ["capture", "prepare", "infer", "temporal", "labels", "draw", "record"]
    assert sorted(result["stages"]) == sorted(stages)
    for times in (*result["stages"].values(), result["frame_age"]):
        assert 0 < times["p50_ms"] <= times["p99_ms"]
    assert result["fps"] > 0
    assert result["overhead_core_ms"] > 0
    assert result["peak_rss_mb"] > 10

    printed = capsys.readouterr()
    assert printed.err == ""
    assert f"recorded {out}" in printed.out
    assert re.search(r"^12 frames at \d+\.\d FPS \(end of source\)$", printed.out, re.MULTILINE)


def test_a_recording_shows_mask_and_legend(tiny_bundle: Path, tmp_path: Path) -> None:
    spec = Bundle.open(tiny_bundle).spec
    images = tmp_path / "images"
    images.mkdir()
    scene = np.zeros((192, 256, 3), np.uint8)
    for index in range(3):  # what the tiny model calls Sky, Road and Car
        scene[64 * index : 64 * index + 64] = spec.palette[(0, 3, 8)[index]]
    Image.fromarray(scene).save(images / "a.png")
    out = tmp_path / "out.mp4"
    arguments = ["--camera", str(images), "--bundle", str(tiny_bundle), "--alpha", "1"]
    assert main([*arguments, "--record", str(out)]) == 0
    with av.open(str(out)) as container:
        picture = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert picture.shape == (192, 256, 3)
    for row, label in ((48, 0), (96, 3), (150, 8)):
        assert picture[row, 128] == pytest.approx(spec.palette[label], abs=12)


def test_live_streams_stop_after_n_frames(tiny_bundle: Path, tmp_path: Path) -> None:
    numbers = tmp_path / "s.json"
    arguments = ["--camera", "street:?fps=200&size=160x120", "--bundle", str(tiny_bundle)]
    arguments += ["--temporal", "off", "--headless"]
    assert main([*arguments, "--frames", "7", "--json", str(numbers)]) == 0
    result = json.loads(numbers.read_text())
    assert (result["frames"], result["ended"]) == (7, "--frames 7")
    assert result["record"] is None
    assert "draw" not in result["stages"]  # nobody looks, so nothing is drawn
    assert "temporal" not in result["stages"]


def test_without_a_display_it_says_so_once_and_goes_on(
    tiny_bundle: Path, make_video: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--camera", str(make_video()), "--bundle", str(tiny_bundle)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if "display" in line and "->" not in line] == [
        "no display: running headless (use --record FILE to keep the result)"
    ]


@pytest.mark.parametrize("watched", [True, False])
def test_only_a_terminal_gets_progress(
    watched: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter([0.0, 0.9, 1.0, 1.0, 1.5, 2.0, 2.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    progress = Progress(watched)
    stream = SimpleNamespace(fps=25.04, dropped=3)
    for count in range(1, 5):
        progress.show(count, cast(Any, stream), cast(Any, SimpleNamespace(age=0.0304)))
    lines = [f"{count} frames, 25.0 FPS, age 30 ms, dropped 3" for count in (2, 4)]
    assert capsys.readouterr().out.splitlines() == (lines if watched else [])


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        pytest.param(["--camera", "999"], 5, "no camera at /dev/video999", id="no device"),
        pytest.param(["--camera", "/dev/null"], 5, "it is no camera", id="no camera"),
        pytest.param(["--camera", "missing.mp4"], 5, "no file or folder", id="no file"),
        pytest.param(["--camera", "notes.txt"], 5, "not a video", id="no video"),
        pytest.param(["--camera", "empty"], 5, "holds no images", id="empty folder"),
        pytest.param(["--camera", "broken"], 5, "b.png is not a readable image", id="bad image"),
        pytest.param(["--camera", "header.y4m"], 5, "not a single frame", id="no frames"),
        pytest.param(["--camera", "ftp://x/"], 2, "ftp:// cameras are not read", id="scheme"),
        pytest.param(["--camera", "street:?fps=-1"], 2, "options are", id="street option"),
        pytest.param(["--camera", "street:", "--frames", "0"], 2, "at least 1", id="no frames"),
        pytest.param(["--camera", "street:", "--alpha", "2"], 2, "--alpha 2", id="alpha"),
        pytest.param(
            ["--camera", "street:", "--record", "no/out.mp4"], 2, "mkdir -p no", id="record folder"
        ),
        pytest.param(
            ["--camera", "video.mp4", "--record", "video.mp4"], 2, "overwrite", id="record input"
        ),
        pytest.param(
            ["--camera", "street:", "--precision", "int8"], 2, "no int8 graph", id="not built"
        ),
        pytest.param(
            ["--camera", "street:", "--target", "tensorrt"], 4, "tensorrt", id="no device"
        ),
        pytest.param(
            ["--camera", "street:", "--bundle", "nowhere"],
            6,
            "python export/build_engine.py --int8",
            id="no bundle",
        ),
    ],
)
def test_bad_input_is_one_sentence_and_an_exit_code(
    arguments: list[str],
    code: int,
    message: str,
    tiny_bundle: Path,
    tmp_path: Path,
    make_video: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    make_video()
    (tmp_path / "header.y4m").write_bytes(b"YUV4MPEG2 W64 H48 F25:1 C420jpeg\n")
    (tmp_path / "notes.txt").write_text("these are notes\n" * 50)
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    Image.new("RGB", (64, 48)).save(tmp_path / "broken" / "a.png")
    (tmp_path / "broken" / "b.png").write_bytes(b"\x89PNG nothing more")
    before = sorted(tmp_path.rglob("*"))

    if "--bundle" not in arguments:
        arguments = [*arguments, "--bundle", str(tiny_bundle)]
    assert main([*arguments, "--headless", "--json", "s.json"]) == code
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert message in error
    assert sorted(tmp_path.rglob("*")) == before  # nothing half-written


def test_what_was_recorded_before_a_failure_is_kept(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for index in range(4):
        Image.new("RGB", (64, 48)).save(images / f"{index}.png")
    (images / "4.png").write_bytes(b"")
    out = tmp_path / "out.mp4"
    arguments = ["--camera", str(images), "--bundle", str(tiny_bundle), "--record", str(out)]
    assert main([*arguments, "--headless"]) == 5
    assert len(decoded(out)) == 4
    printed = capsys.readouterr()
    assert "4.png is not a readable image" in printed.err
    assert "out.mp4: 4 frames" in printed.out


def test_the_crf_runs_where_the_spec_has_parameters(tiny_bundle: Path) -> None:
    params = CrfParams(4.0, 20.0, 10.0, 3.0, 3.0, iterations=2)
    spec = replace(Bundle.open(tiny_bundle).spec, crf=params)
    chosen, words = refiner.choose_crf("auto", spec)
    assert words == "fast: auto (parameters: the model's)"
    assert chosen is not None
    frame = np.zeros((24, 32, 3), np.uint8)
    frame[:, 16:] = 255
    logits = np.zeros((len(spec.classes), 6, 8), np.float32)
    logits[3, :, :4] = 5
    logits[0, :, 4:] = 5
    logits[0, 3, 1] = 6  # a speck of sky on the road, which the CRF removes
    labels = chosen.refine(frame, logits)
    assert np.array_equal(labels, np.where(frame[..., 0] > 0, 0, 3))
    assert chosen.refine(frame[:20], logits[:, :5]).shape == (20, 32)  # another size, another CRF
    assert chosen.iterations == {2: 2}
    assert refiner.choose_crf("off", spec) == (None, "off: as asked")


@pytest.mark.parametrize("mode", ["fast", "exact"])
def test_a_crf_budget_of_nothing_buys_one_iteration(tiny_bundle: Path, mode: str) -> None:
    params = CrfParams(4.0, 20.0, 10.0, 3.0, 3.0, iterations=5)
    spec = replace(Bundle.open(tiny_bundle).spec, crf=params)
    chosen, words = refiner.choose_crf(mode, spec, budget_ms=1e-6)
    assert chosen is not None
    assert words == f"{mode}: as asked (parameters: the model's)"
    chosen.refine(np.zeros((24, 32, 3), np.uint8), np.zeros((len(spec.classes), 6, 8), np.float32))
    assert chosen.iterations == {1: 1}


def test_a_model_without_crf_parameters_gets_mild_ones_when_asked(tiny_bundle: Path) -> None:
    spec = Bundle.open(tiny_bundle).spec
    assert refiner.choose_crf("auto", spec)[0] is None
    chosen, words = refiner.choose_crf("exact", spec)
    assert chosen is not None
    assert "mild, as the model has none" in words


def test_a_cameras_crfs_are_made_once_and_counted_together(tiny_bundle: Path) -> None:
    params = CrfParams(4.0, 20.0, 10.0, 3.0, 3.0, iterations=2)
    spec = replace(Bundle.open(tiny_bundle).spec, crf=params)
    first, _ = refiner.choose_crf("fast", spec)
    assert first is not None
    refiners = refiner.Refiners(spec, first)
    exact = refiners.of("exact")
    assert exact is not None
    assert refiners.of("exact") is exact
    assert (refiners.of("fast"), refiners.of("off")) == (first, None)
    first.iterations[2] += 3
    exact.iterations[2] += 1
    exact.iterations[1] += 4
    assert refiners.iterations() == {1: 4, 2: 4}
    assert refiner.Refiners(spec, None).iterations() == {}


STREAM = [sys.executable, str(ROOT / "runtime" / "stream.py")]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_real_stream_cleanly(
    tiny_bundle: Path, tmp_path: Path, number: signal.Signals
) -> None:
    out, numbers = tmp_path / "out.mp4", tmp_path / "s.json"
    command = [*STREAM, "--camera", "street:?fps=30&size=161x121", "--bundle", str(tiny_bundle)]
    command += ["--record", str(out), "--json", str(numbers), "--headless"]
    terminal, its_end = pty.openpty()  # a terminal, so that it says how far it is
    with subprocess.Popen(command, stdout=its_end, stderr=subprocess.PIPE, cwd=ROOT) as process:
        os.close(its_end)
        with os.fdopen(terminal) as lines:
            with contextlib.suppress(
                OSError
            ):  # a terminal's way to say that nobody writes any more
                while not re.match(r"\d+ frames", lines.readline()):
                    pass
            process.send_signal(number)
            _, errors = process.communicate(timeout=60)
    assert (errors, process.returncode) == (b"", 0)
    result = json.loads(numbers.read_text())
    assert result["ended"] == "stopped by signal"
    frames = decoded(out)
    record = result["sinks"]["record"]
    assert len(frames) == record["written"] > 0
    assert record["written"] + record["dropped"] == result["frames"]
    assert set(frames) == {(162, 122)}  # 161x121, made even for the codec


def test_help_is_instant_and_imports_nothing_heavy() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *STREAM[1:], "--help"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    assert "street:" in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not imported & {"numpy", "av", "onnxruntime", "cv2", "PIL", "torch", "onnx"}


@pytest.mark.data
def test_a_dash_cam_clip_is_recorded_as_it_is(
    deeplab_data: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    clip, out = deeplab_data / "video" / "dashcam_motorway.mp4", tmp_path / "out.mp4"
    arguments = ["--camera", str(clip), "--bundle", str(tiny_bundle), "--headless"]
    assert main([*arguments, "--frames", "25", "--record", str(out)]) == 0
    assert decoded(out) == [(960, 540)] * 25
    with av.open(str(out)) as container:
        assert container.streams.video[0].average_rate == 25


def test_a_window_is_closed_while_the_camera_gives_nothing(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown: list[Result] = []

    class Window:
        name = "window"

        def __init__(self, title: str) -> None: ...

        def put(self, result: Result) -> bool:
            shown.append(result)
            return True

        def idle(self) -> bool:
            return not shown  # the user closes it once there was a picture

        def __enter__(self) -> Window:
            return self

        def __exit__(self, *error: object) -> None: ...

    def camera(self: StreetSource) -> Iterator[Frame]:
        yield Frame(np.zeros((48, 64, 3), np.uint8), 0, time.monotonic(), 0.0)
        self._closed.wait(60)

    monkeypatch.setattr("runtime.sinks.window.why_no_window", lambda: None)
    monkeypatch.setattr("runtime.sinks.opening.Window", Window)
    monkeypatch.setattr(StreetSource, "__iter__", camera)
    assert main(["--camera", "street:?fps=10", "--bundle", str(tiny_bundle)]) == 0
    assert len(shown) == 1
    assert "(window closed)" in capsys.readouterr().out
