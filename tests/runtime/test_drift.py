"""Drift: what the light says, when a warning is raised, and what a stream makes of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from engines.bundle import Bundle, writing_bundle
from engines.clip_probe import EVERY, METADATA, Clip
from engines.failures import Refused
from engines.input_statistics import (
    LEVELS,
    STEP,
    InputStatistics,
    curves,
    input_statistics,
    mean_brightness,
)
from engines.manifest import Manifest
from runtime.alarm import Alarm
from runtime.drift import CALM, PROBES, WINDOW, Drift
from runtime.overlay import Overlay
from runtime.stream import main
from scenes.street import StreetCamera

Frames = list[NDArray[np.uint8]]
SIZE = (96, 128)


@pytest.fixture(scope="module")
def street() -> Frames:
    """A drive of 20 seconds: 24 frames, every 25th."""
    camera = StreetCamera(SIZE, seed=0)
    return [camera.scene(index).frame for index in range(0, 600, 25)]


@pytest.fixture(scope="module")
def statistics(street: Frames) -> InputStatistics:
    return input_statistics(street[::2])


def scaled(frame: NDArray[np.uint8], gain: float) -> NDArray[np.uint8]:
    return np.asarray(np.clip(frame * gain, 0, 255), np.uint8)


def watched(statistics: InputStatistics) -> tuple[Drift, list[str]]:
    """A drift and the lines that it tells."""
    lines: list[str] = []
    return Drift(statistics, lines.append), lines


def frames_until_told(drift: Drift, lines: list[str], frames: Frames) -> int:
    """How many frames it takes until there is a line."""
    for count, frame in enumerate(frames, start=1):
        drift.see(frame)
        if lines:
            return count
    raise AssertionError("nothing was told")


def test_curves_count_pixels() -> None:
    frame = np.random.default_rng(1).integers(0, 256, (40, 56, 3)).astype(np.uint8)
    sample = [
        [float(v) for v in frame[y, x]] for y in range(4, 40, STEP) for x in range(4, 56, STEP)
    ]
    lumas = [0.299 * r + 0.587 * g + 0.114 * b for r, g, b in sample]
    unit = LEVELS / 2 / (sum(lumas) / len(lumas) + 1)
    places = [
        [luma * LEVELS / 256 for luma in lumas],
        [LEVELS / 2 + (r - g) * unit for r, g, _ in sample],
        [LEVELS / 2 + ((r + g) / 2 - b) * unit for r, g, b in sample],
    ]
    expected = [
        [sum(place < level + 1 or level == LEVELS - 1 for place in row) for level in range(LEVELS)]
        for row in places
    ]
    assert curves(frame) == pytest.approx(np.array(expected) / len(sample))


def test_exposure_moves_brightness_but_no_colour(street: Frames) -> None:
    bright, dark = curves(street[0]), curves(scaled(street[0], 0.5))
    assert mean_brightness(bright) == pytest.approx(street[0].mean(), abs=8)
    assert mean_brightness(dark) == pytest.approx(mean_brightness(bright) / 2, abs=5)
    assert dark[1:] == pytest.approx(bright[1:], abs=0.05)
    swapped = curves(street[0][..., ::-1])
    assert float(np.abs(swapped[1:] - bright[1:]).max()) > 0.3


def test_statistics_survive_json(statistics: InputStatistics) -> None:
    text = json.dumps(statistics.to_json())
    assert InputStatistics.from_json(text) == statistics
    assert len(text) < 3000
    for damaged in ("{}", "nothing", text.replace('"format": 1', '"format": 9'), "[]", '{"low":1}'):
        with pytest.raises(Refused, match="statistics are not valid"):
            InputStatistics.from_json(damaged)
    with pytest.raises(Refused, match="no calibration frame"):
        input_statistics([])


def test_an_alarm_is_raised_once_and_again_only_after_calm() -> None:
    alarm = Alarm("too much", limit=0.3, calm=3)
    levels = [0.1, 0.4, 0.5, 0.1, 0.1, 0.4, 0.25, 0.1, 0.1, 0.1, 0.25, 0.31]
    raised = [alarm.update(level) for level in levels]
    assert [i for i, new in enumerate(raised) if new] == [1, 11]
    assert (alarm.times, alarm.first, alarm.worst) == (2, 2, 0.5)
    assert alarm.updates == 8 + 1  # from the second to the ninth, and the last
    assert alarm.raised


def test_an_unchanged_street_never_warns(statistics: InputStatistics, street: Frames) -> None:
    drift, lines = watched(statistics)
    for index in range(300):
        drift.see(street[index % len(street)])
    assert lines == []
    assert drift.notice() == ""
    summary = drift.to_json()
    assert summary == {"frames": 300, "probed": 0, "calibration_frames": 12, "warnings": []}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(lambda f: scaled(f, 0.3), "darker than calibration", id="at 0.3"),
        pytest.param(lambda f: scaled(f, 0.7), "darker than calibration", id="less 0.3"),
        pytest.param(lambda f: scaled(f, 1.6), "brighter than calibration", id="brighter"),
        pytest.param(lambda f: f[..., ::-1], "other colours than calibration", id="BGR"),
    ],
)
def test_a_changed_street_warns_within_two_seconds(
    change: Callable[[NDArray[np.uint8]], NDArray[np.uint8]],
    words: str,
    statistics: InputStatistics,
    street: Frames,
) -> None:
    drift, lines = watched(statistics)
    for frame in street[:WINDOW]:
        drift.see(frame)
    changed = [change(frame) for frame in street]
    assert frames_until_told(drift, lines, changed) < 2 * WINDOW
    for frame in changed:
        drift.see(frame)
    (line,) = lines
    assert line.startswith(f"drift: {words}: ")
    assert "docs/calibration_data.md" in line
    assert drift.notice() == words
    (warning,) = drift.to_json()["warnings"]
    assert (warning["what"], warning["times"]) == (words, 1)


def test_what_was_dark_and_is_light_again_is_no_news(
    statistics: InputStatistics, street: Frames
) -> None:
    """A row of tunnels: one line, until it was light for long."""
    drift, lines = watched(statistics)
    light = [street[index % len(street)] for index in range(3 * WINDOW + CALM)]
    tunnel = [scaled(frame, 0.2) for frame in street]
    for frame in (*tunnel, *light[:100], *tunnel, *light[:100], *tunnel):
        drift.see(frame)
    assert len(lines) == 1
    for frame in light:
        drift.see(frame)
    drift.see(light[0])
    assert drift.notice() == ""
    for frame in tunnel:
        drift.see(frame)
    assert len(lines) == 2


@pytest.mark.parametrize("start", [0, WINDOW])
def test_odd_frames_do_not_warn(start: int, statistics: InputStatistics, street: Frames) -> None:
    drift, lines = watched(statistics)
    frames = street.copy()
    frames[start : start + 3] = [np.zeros((*SIZE, 3), np.uint8)] * 3
    for frame in frames:
        drift.see(frame)
    assert lines == []


def test_clipping_is_held_against_calibration(statistics: InputStatistics) -> None:
    drift, lines = watched(statistics)
    usual = {"first": Clip(2e-5, 1e-5), "last": Clip(0.012, 0.01)}
    for _ in range(3 * PROBES):
        drift.clipped(usual)
    assert lines == []
    for _ in range(PROBES):
        drift.clipped(usual | {"first": Clip(0.002, 1e-5)})
    assert lines == [
        "drift: activations clip more than at calibration: 0.05% of the values of layer first, "
        "0.001% at calibration; add frames like these and calibrate again "
        "(docs/calibration_data.md)"
    ]
    assert drift.notice() == "activations clip more than at calibration"
    assert drift.to_json()["probed"] == 4 * PROBES


def test_a_few_probes_say_nothing(statistics: InputStatistics) -> None:
    drift, lines = watched(statistics)
    for _ in range(PROBES - 1):
        drift.clipped({"first": Clip(0.5, 0.0)})
    assert lines == []
    drift.clipped({"first": Clip(0.5, 0.0)})
    assert len(lines) == 1


@pytest.fixture
def drifting_bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    """The tiny bundle with statistics of mid-grey frames and a probe of its logits."""
    source = Bundle.open(tiny_bundle)
    graph = source.read(source.graph("fp32"))
    random = np.random.default_rng(0)
    frames = [random.integers(90, 160, (*SIZE, 3)).astype(np.uint8) for _ in range(20)]
    root = tmp_path / "drifting"
    with writing_bundle(root) as writer:
        writer.add_bytes("fp32.onnx", graph, "onnx", precision="fp32")
        data = json.dumps(input_statistics(frames).to_json()).encode()
        writer.add_bytes("input.json", data, "calibration-input")
        writer.add_bytes("probe.onnx", _probe(graph), "probe", precision="fp32")
        writer.finish(Manifest(spec=source.spec, precision="fp32", files=()))
    return root


def _probe(graph: bytes) -> bytes:
    """The logits as codes of 40 each: most clip."""
    onnx = pytest.importorskip("onnx", reason="the [export] extra writes the fixture's ONNX")
    model = onnx.load_from_string(graph)
    for name, value in (("scale", np.float32(40)), ("zero", np.uint8(128))):
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(value), name))
    inputs = ["logits", "scale", "zero"]
    model.graph.node.append(onnx.helper.make_node("QuantizeLinear", inputs, ["codes"], "codes"))
    value = onnx.helper.make_tensor_value_info("codes", onnx.TensorProto.UINT8, None)
    model.graph.output.append(value)
    layer = {"codes": {"name": "logits", "edges": [0, 255], "expected": 0.0}}
    onnx.helper.set_model_props(model, {METADATA: json.dumps(layer)})
    return bytes(model.SerializeToString())


def stream(
    bundle: Path, video: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> tuple[dict[str, Any], str]:
    """A run's summary and what it said on stderr."""
    arguments = ["--camera", str(video), "--bundle", str(bundle), "--headless", "--drift"]
    assert main([*arguments, "--json", str(out)]) == 0
    return json.loads(out.read_text()), capsys.readouterr().err


def test_a_stream_that_drifts_says_so(
    drifting_bundle: Path,
    make_video: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    count = PROBES * EVERY + 1
    video = make_video(count=3, size=SIZE)  # grey 20, 30, 40: darker than 90 to 160
    long = make_long(video, tmp_path / "long.mp4", count)
    result, said = stream(drifting_bundle, long, tmp_path / "s.json", capsys)
    assert result["frames"] == count
    lines = [line.split(": ")[1] for line in said.splitlines()]
    assert lines[0] == "darker than calibration"
    assert "activations clip more than at calibration" in lines
    assert len(lines) == len(set(lines))
    drift = result["drift"]
    assert (drift["frames"], drift["probed"], drift["calibration_frames"]) == (count, PROBES, 20)
    told = {warning["what"]: warning for warning in drift["warnings"]}
    assert set(told) == set(lines)
    assert told["darker than calibration"]["first"] == 1  # with the first full window
    assert result["stages"]["drift"]["p50_ms"] > 0


def make_long(video: Path, path: Path, count: int) -> Path:
    """A video of `count` frames, all like the first of `video`."""
    with av.open(str(video)) as container:
        first = next(container.decode(video=0)).to_ndarray(format="rgb24")
    with av.open(str(path), "w") as container:
        track: Any = container.add_stream("libx264", rate=25)
        track.height, track.width = first.shape[:2]
        track.pix_fmt = "yuv420p"
        for _ in range(count):
            container.mux(track.encode(av.VideoFrame.from_ndarray(first, format="rgb24")))
        container.mux(track.encode(None))
    return path


def test_a_notice_ends_the_status_line(tiny_bundle: Path) -> None:
    spec, said = Bundle.open(tiny_bundle).spec, [""]
    frame, labels = np.zeros((*SIZE, 3), np.uint8), np.zeros(SIZE, np.uint8)
    plain = Overlay(spec, "t", 0.5).draw(frame, labels, 25.0, 0.03)
    overlay = Overlay(spec, "t", 0.5, lambda: said[0])
    assert np.array_equal(overlay.draw(frame, labels, 25.0, 0.03), plain)
    said[0] = "darker"
    noticed = overlay.draw(frame, labels, 25.0, 0.03)
    differing = (noticed != plain).any(axis=2)
    assert differing[:20].any()
    assert not differing[20:].any()


def test_a_stream_without_drift_has_none_in_its_summary(
    drifting_bundle: Path, make_video: Callable[..., Path], tmp_path: Path
) -> None:
    out = tmp_path / "s.json"
    arguments = ["--camera", str(make_video()), "--bundle", str(drifting_bundle), "--headless"]
    assert main([*arguments, "--json", str(out)]) == 0
    result = json.loads(out.read_text())
    assert result["drift"] is None
    assert "drift" not in result["stages"]


def test_a_bundle_without_statistics_is_refused(
    tiny_bundle: Path, make_video: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--camera", str(make_video()), "--bundle", str(tiny_bundle), "--headless"]
    assert main([*arguments, "--drift"]) == 2
    assert "keeps no statistics of its calibration frames" in capsys.readouterr().err
