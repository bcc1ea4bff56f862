"""`--camera a --camera b`: one engine, numbers of each, and a failure that stays one camera's."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from runtime.assembly import assemble
from runtime.lane import Result
from runtime.options import Options
from runtime.overlay import Overlay
from runtime.serving.attach import any_well, channel_names, make_channels
from runtime.stream import main
from runtime.switched_session import SwitchedSession


def images(folder: Path, count: int, broken: bool = False) -> Path:
    folder.mkdir()
    for index in range(count):
        Image.new("RGB", (64, 48), (index, 128, 64)).save(folder / f"{index}.png")
    if broken:
        (folder / f"{count}.png").write_bytes(b"")
    return folder


def results(options: Options) -> list[Result]:
    with ExitStack() as stack:
        assembly = assemble(options, stack, drawn=False)
        return list(stack.enter_context(assembly.stream))


def test_labels_are_those_of_single_streams(
    tiny_bundle: Path, make_video: Callable[..., Path], tmp_path: Path
) -> None:
    cameras = (
        "street:?seed=3&frames=7&size=160x120",
        str(make_video(count=9, size=(90, 120))),
        "street:?frames=4",
        str(images(tmp_path / "folder", 5)),
    )
    together = results(Options(cameras, bundle=tiny_bundle))
    for camera, source in enumerate(cameras):
        own = [result for result in together if result.camera == camera]
        alone = results(Options((source,), bundle=tiny_bundle))
        assert len(own) == len(alone) > 0
        for result, expected in zip(own, alone, strict=True):
            assert result.frame.index == expected.frame.index
            np.testing.assert_array_equal(result.labels, expected.labels)


def test_each_camera_has_its_file_and_its_numbers(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    numbers = tmp_path / "s.json"
    words = ["--camera", "street:?frames=6&size=96x64", "--camera", "street:?frames=4&size=64x48"]
    words += ["--bundle", str(tiny_bundle), "--headless", "--record", str(tmp_path / "out.mp4")]
    assert main([*words, "--json", str(numbers)]) == 0
    result = json.loads(numbers.read_text())
    assert (result["frames"], result["ended"], result["exit_code"]) == (10, "end of source", 0)
    assert [camera["frames"] for camera in result["cameras"]] == [6, 4]
    assert [camera["ended"] for camera in result["cameras"]] == ["end of source"] * 2
    for camera in result["cameras"]:
        assert {"infer", "labels", "draw"} <= set(camera["stages"])
        assert 0 < camera["frame_age"]["p50_ms"] <= camera["frame_age"]["p99_ms"]
    assert sorted(path.name for path in tmp_path.glob("*.mp4")) == ["out-0.mp4", "out-1.mp4"]
    for number, size in enumerate(((96, 64), (64, 48))):
        with av.open(str(tmp_path / f"out-{number}.mp4")) as container:
            frames = [(frame.width, frame.height) for frame in container.decode(video=0)]
        assert frames == [size] * (6, 4)[number]
    printed = capsys.readouterr().out
    assert "0: street:?frames=6&size=96x64, 1: street:?frames=4" in printed


def test_a_camera_that_fails_is_told_and_the_others_finish(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    numbers, broken = tmp_path / "s.json", images(tmp_path / "broken", 3, broken=True)
    words = ["--camera", str(broken), "--camera", str(images(tmp_path / "whole", 12))]
    words += ["--bundle", str(tiny_bundle), "--headless", "--json", str(numbers)]
    assert main(words) == 5
    result = json.loads(numbers.read_text())
    failed, whole = result["cameras"]
    assert (failed["frames"], whole["frames"], whole["ended"]) == (3, 12, "end of source")
    assert failed["ended"].startswith("failed: ")
    assert "3.png is not a readable image" in failed["ended"]
    printed = capsys.readouterr()
    assert "3.png is not a readable image" in printed.err
    assert "camera failed" in printed.err


def test_a_camera_that_is_not_there_is_refused_before_anything_runs(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--camera", "street:", "--camera", "/dev/video77", "--bundle", str(tiny_bundle)]
    assert main([*words, "--headless", "--json", str(tmp_path / "s.json")]) == 5
    assert "no camera at /dev/video77" in capsys.readouterr().err
    assert not (tmp_path / "s.json").exists()


def test_all_cameras_that_fail_are_one_sentence(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = []
    for name in ("a", "b"):
        words += ["--camera", str(images(tmp_path / name, 2, broken=True))]
    assert main([*words, "--bundle", str(tiny_bundle), "--headless"]) == 5
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: ")
    assert "2.png is not a readable image" in last


class Precision:
    """A session that only knows its name."""

    target, description = "cpu", "nothing"

    def __init__(self, spec: Any, precision: str) -> None:
        self.spec, self.precision = spec, precision

    def close(self) -> None: ...


def test_switches_are_a_cameras_own_but_for_the_precision(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = Options(("street:", "street:?seed=1"), bundle=tiny_bundle, alpha=0.4, serve=":0")
    switched: list[SwitchedSession] = []

    def open_switched(bundle: Any, precision: str, target: str) -> Any:
        first, other = (Precision(bundle.spec, name) for name in ("fp32", "int8"))
        switched.append(SwitchedSession(first, lambda _: other))  # type: ignore[arg-type, return-value]
        return switched[0], ("fp32", "int8")

    monkeypatch.setattr("runtime.assembly.open_switched", open_switched)
    with ExitStack() as stack:
        assembly = assemble(options, stack, drawn=True)
        first, second = (stack.enter_context(one) for one in make_channels(assembly, options))
        assert (first.name, second.name) == ("camera-0", "camera-1")
        before = second.switches.now
        first.switches.change({"alpha": 0.9, "crf": "exact", "paused": True})
        assert second.switches.now == before
        alphas = []
        for camera in assembly.cameras:
            assert isinstance(camera.drawer, Overlay)
            alphas.append(camera.drawer.alpha)
        assert alphas == [0.9, 0.4]
        paths: list[Any] = [lane.path for lane in assembly.stream.lanes]
        assert paths[0].refiner.mode == "exact"
        assert paths[1].refiner is None
        assert [lane.paused for lane in assembly.stream.lanes] == [True, False]

        second.switches.change({"precision": "int8"})
        assert first.switches.now.precision == second.switches.now.precision == "int8"
        switched[0].use("int8").join()
        assert assembly.session.precision == "int8"


def test_one_camera_keeps_its_name() -> None:
    assert channel_names(1) == ["camera"]
    assert channel_names(3) == ["camera-0", "camera-1", "camera-2"]


@pytest.mark.parametrize(
    ("each", "together"),
    [
        ([None, None], None),
        ([None, True], True),
        ([None, False], False),
        ([False, True], True),
        ([False, False], False),
    ],
)
def test_a_watchdog_bites_once_no_camera_is_well(
    each: list[bool | None], together: bool | None
) -> None:
    channels: Any = [SimpleNamespace(well=lambda known=known: known) for known in each]
    assert any_well(channels)() == together
