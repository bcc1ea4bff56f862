"""The stream as a Python program uses it: labels, hooks, sinks, cameras of its own."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from engines.bundle import Bundle
from engines.failures import Refused, SourceFailed, UsageError
from runtime.api import ArraySource, Segmented, Settings, open_stream, segment
from runtime.lane import Result
from runtime.options import Options
from runtime.source import Frame, FrameSource
from runtime.sources.status import State, Status

Picture = NDArray[np.uint8]
Settled = dict[str, Any]


@pytest.fixture
def tiny(tiny_bundle: Path) -> Settled:
    """The settings of a plain, quick stream."""
    return {"bundle": tiny_bundle, "temporal": "off"}


@pytest.fixture
def scene(tiny_bundle: Path) -> Picture:
    """Sky above, then road, with a car in the lower right corner: 96x128."""
    palette = Bundle.open(tiny_bundle).spec.palette
    picture = np.empty((96, 128, 3), np.uint8)
    picture[:48], picture[48:], picture[72:, 96:] = palette[0], palette[3], palette[8]
    return picture


def test_a_loop_over_results(tiny: Settled) -> None:
    with open_stream("street:?size=160x120", **tiny) as stream:
        for result, index in zip(stream, range(5), strict=False):
            assert (result.camera, result.index) == (0, index)
            assert result.labels.shape == (120, 160)
            assert result.image.shape == (120, 160, 3)
            assert result.picture is None
            assert result.age > 0
            assert sum(result.shares.values()) == pytest.approx(1)
    assert stream.fps > 0
    assert (stream.dropped, stream.reconnects) == (0, 0)
    assert [status.state for status in stream.cameras] == [State.LIVE]
    assert "fp32 on cpu" in stream.describe()


def test_shares_masks_and_regions_by_name(tiny: Settled, scene: Picture) -> None:
    result = segment(scene, **tiny)
    assert result.share("Sky") == 0.5
    assert result.share("Car") == result.mask("Car").mean() == pytest.approx(1 / 16, abs=2e-4)
    (car,) = result.regions("Car")
    assert car.box == (96, 72, 128, 96)
    assert car.area == result.mask("Car").sum()
    assert [result.classes[region.label] for region in result.regions()] == ["Sky", "Road", "Car"]
    assert len(result.regions(min_region=0.1)) == 2
    assert result.regions("Bicyclist") == []
    with pytest.raises(UsageError, match="no class 'car': did you mean Car"):
        result.share("car")


def test_pictures_of_a_result(tiny: Settled, scene: Picture) -> None:
    result = segment(scene, **tiny)
    assert result.overlay(alpha=1)[0, 0].tolist() == list(result.spec.palette[0])
    with Image.open(io.BytesIO(result.png())) as labels:
        np.testing.assert_array_equal(np.asarray(labels), result.labels)


def test_one_picture_is_segmented_as_the_stream_does(tiny: Settled) -> None:
    with open_stream("street:?size=160x120", **tiny) as stream:
        result = next(iter(stream))
    np.testing.assert_array_equal(segment(result.image, **tiny).labels, result.labels)


def test_a_picture_may_be_a_file(tiny: Settled, scene: Picture, tmp_path: Path) -> None:
    path = tmp_path / "scene.png"
    Image.fromarray(scene).save(path)
    expected = segment(scene, **tiny).labels
    for name in (path, str(path)):
        np.testing.assert_array_equal(segment(name, **tiny).labels, expected)
    with open_stream(path, **tiny) as stream:
        assert [result.index for result in stream] == [0]


def test_arrays_are_a_camera(tiny: Settled, scene: Picture) -> None:
    def film() -> Iterator[Picture]:
        canvas = np.empty_like(scene)  # one array, filled again and again
        for shift in range(6):
            canvas[:] = np.roll(scene, 16 * shift, axis=1)
            yield canvas

    with open_stream(film(), **tiny) as stream:
        found = [(r.index, r.time, r.regions("Car")[0].box[0]) for r in stream]
    lefts = [96, 0, 0, 16, 32, 48]
    assert found == [(i, i / 25, lefts[i]) for i in range(6)]


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (
            np.zeros((4, 4), np.uint8),
            r"number 0, is uint8 \[4, 4\]: a picture is uint8 \[H, W, 3\]",
        ),
        (np.zeros((4, 4, 3)), r"is float64 \[4, 4, 3\]"),
        (np.zeros((0, 4, 3), np.uint8), r"\[0, 4, 3\]"),
    ],
)
def test_what_is_no_picture(tiny: Settled, picture: Any, message: str) -> None:
    with pytest.raises(SourceFailed, match=message):
        segment(picture, **tiny)


def test_live_arrays_tell_the_clocks_time(scene: Picture) -> None:
    frames = list(ArraySource([scene, scene], live=True))
    assert frames[0].time == 0
    assert frames[1].time == frames[1].captured - frames[0].captured


def test_a_source_of_ones_own(
    tiny: Settled, scene: Picture, make_source: Callable[..., FrameSource]
) -> None:
    frames = [Frame(scene, index, 0.0, index / 5) for index in range(3)]
    with open_stream(make_source(frames), "street:?size=160x120", **tiny) as stream:
        results = [next(iter(stream)) for _ in range(1)]
        stream.stop()
    assert results[0].camera in (0, 1)
    with open_stream(make_source(frames), **tiny) as stream:
        assert [result.time for result in stream] == [0, 0.2, 0.4]


def test_several_cameras_and_their_files(tiny: Settled, scene: Picture, tmp_path: Path) -> None:
    names: Settled = {"labels": tmp_path / "maps", "record": tmp_path / "out.mp4"}
    with open_stream(
        [scene] * 3, [scene] * 2, results=str(tmp_path / "r.jsonl"), **names, **tiny
    ) as stream:
        stream.run()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "maps-0", "maps-1", "out-0.mp4", "out-1.mp4", "r.jsonl"
    ]  # fmt: skip
    assert len(list((tmp_path / "maps-0").iterdir())) == 3
    assert {name: row["written"] for name, row in stream.sinks.items()} == {
        "record": 5, "label maps": 5, "results": 5
    }  # fmt: skip
    lines = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    assert sorted((line["camera"], line["index"]) for line in lines) == [
        (0, 0), (0, 1), (0, 2), (1, 0), (1, 1)
    ]  # fmt: skip


def test_a_hook_sees_every_result_first(tiny: Settled, scene: Picture) -> None:
    seen: list[Segmented] = []
    with open_stream([scene] * 4, on_result=seen.append, **tiny) as stream:
        for result in stream:
            assert seen[-1] is result
    assert len(seen) == 4


def test_a_hook_that_fails_ends_the_stream(tiny: Settled, scene: Picture) -> None:
    def fail(result: Segmented) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), open_stream([scene], on_result=fail, **tiny) as stream:
        stream.run()


class Collector:
    """A sink of a user's own."""

    name = "collector"

    def __init__(self, enough: int) -> None:
        self.told: list[str] = []
        self.threads: set[str] = set()
        self._left = enough

    def put(self, result: Result) -> bool:
        self.told.append(f"{result.frame.index}")
        self.threads.add(threading.current_thread().name)
        self._left -= 1
        return self._left > 0

    def __enter__(self) -> Collector:
        self.told.append("entered")
        return self

    def __exit__(self, *_: object) -> None:
        self.told.append("left")


def test_a_sink_of_ones_own_may_end_the_stream(tiny: Settled, scene: Picture) -> None:
    sink = Collector(3)
    with open_stream([scene] * 10, sinks=[sink], **tiny) as stream:
        stream.run()
    assert sink.told == ["entered", "0", "1", "2", "left"]


def test_a_slow_sink_of_ones_own_has_a_thread(tiny: Settled, scene: Picture) -> None:
    sink = Collector(100)
    with open_stream([scene] * 5, threaded_sinks=[sink], **tiny) as stream:
        stream.run()
    assert sink.told == ["entered", "0", "1", "2", "3", "4", "left"]
    assert sink.threads == {"collector"}
    assert stream.sinks["collector"]["written"] == 5


def test_drawn_results_have_a_picture(tiny: Settled, scene: Picture) -> None:
    with open_stream([scene], draw=True, **tiny) as stream:
        (result,) = list(stream)
    assert result.picture is not None
    assert result.picture.shape == scene.shape


class Moody:
    """A camera that stalls, and tells it as cameras do."""

    name, live, fps, damaged = "moody", False, 25.0, 0

    def __init__(self, scene: Picture, tell: Callable[[str], None]) -> None:
        self.status = Status(State.STARTING)
        self._scene, self._tell = scene, tell

    def __iter__(self) -> Iterator[Frame]:
        for index, state in enumerate((State.LIVE, State.STALLED, State.LIVE, State.LIVE)):
            self.status = Status(state)
            self._tell("a line")
            yield Frame(self._scene, index, 0.0, index / 25)
        self.status = Status(State.ENDED)

    def close(self) -> None: ...


def test_a_hook_hears_of_each_change_of_state(
    tiny: Settled, scene: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "runtime.state_watch.open_camera", lambda text, options, tell: Moody(scene, tell)
    )
    heard: list[tuple[int, State]] = []
    with open_stream(
        [scene], "moody", on_state=lambda *told: heard.append((told[0], told[1].state)), **tiny
    ) as stream:
        stream.run()
    states = [State.LIVE, State.STALLED, State.LIVE, State.ENDED]
    assert heard == [(1, state) for state in states]


def test_stop_from_another_thread(tiny: Settled, scene: Picture) -> None:
    def endless() -> Iterator[Picture]:
        while True:
            yield scene

    with open_stream(endless(), **tiny) as stream:
        results = iter(stream)
        next(results)
        stream.pause()
        stream.resume()
        thread = threading.Thread(target=stream.stop)
        thread.start()
        list(results)
        thread.join()


def test_what_cannot_be_opened(tiny: Settled, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no setting 'precisoin': did you mean precision"):
        open_stream("street:", precisoin="fp32").__enter__()  # type: ignore[call-arg]
    with pytest.raises(UsageError, match="without a camera"):
        open_stream().__enter__()
    with pytest.raises(Refused, match="none"):
        open_stream("street:", bundle=tmp_path / "none").__enter__()
    with pytest.raises(UsageError, match="--alpha 2"):
        open_stream("street:", alpha=2, **{"bundle": tiny["bundle"]}).__enter__()


def test_a_failing_loop_leaves_playable_files(
    tiny: Settled, scene: Picture, tmp_path: Path
) -> None:
    av = pytest.importorskip("av")
    path = tmp_path / "out.mp4"
    with pytest.raises(ZeroDivisionError), open_stream([scene] * 9, record=path, **tiny) as stream:
        for result in stream:
            _ = 1 / (3 - result.index)
    with av.open(str(path)) as container:
        assert 0 < sum(1 for _ in container.decode(video=0)) <= 9
    assert list(tmp_path.iterdir()) == [path]


def test_settings_are_the_flags() -> None:
    options = {field.name for field in fields(Options)}
    assert set(get_type_hints(Settings)) <= options
    # What belongs to the command: a page, a window, a terminal.
    command = {"camera", "frames", "headless", "serve", "token_file", "insecure", "allow_host"}
    command |= {"recordings", "log", "config", "json"}
    later = {"drift", "compare", "shadow", "shadow_alarm"}
    assert options - set(get_type_hints(Settings)) <= command | later
