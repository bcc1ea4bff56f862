"""What `--camera` may say of cameras, and that no credential is ever said back."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.failures import DeviceMissing, Failure, UsageError
from runtime.source import open_source
from runtime.sources import gstreamer
from runtime.sources.addresses import feed_of
from runtime.sources.camera import Camera
from runtime.sources.capture import Capture
from runtime.sources.feed import Feed, Lost
from runtime.sources.network import network_feed
from runtime.sources.stamps import WINDOW, ArrivalClock, device_time


@pytest.mark.parametrize(
    ("text", "address", "options", "live"),
    [
        ("rtsp://u:p@cam:554/1?channel=1", "rtsp://u:p@cam:554/1?channel=1", {}, True),
        ("RTSP://cam/1?transport=udp", "rtsp://cam/1", {"transport": "udp"}, True),
        ("rtsp://c/?a=1&transport=tcp&b=%20", "rtsp://c/?a=1&b=%20", {"transport": "tcp"}, True),
        ("rtsps://cam/?verify=off", "rtsps://cam/", {"verify": "off"}, True),
        ("http://cam/video.mjpg?transport=x", "http://cam/video.mjpg?transport=x", {}, True),
        ("https://host/a/film.MP4?t=1", "https://host/a/film.MP4?t=1", {}, False),
    ],
)
def test_network_addresses(text: str, address: str, options: dict[str, str], live: bool) -> None:
    feed = feed_of(text)
    assert feed is not None
    assert (feed.kind, feed.address, feed.options, feed.live) == (
        "network",
        address,
        options,
        live,
    )


@pytest.mark.parametrize("text", ["video.mp4", "folder/x://y", "", "C:\\a.mp4", "street", "-1"])
def test_what_is_no_camera(text: str) -> None:
    assert feed_of(text) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rtps://admin:secret@cam/", "rtps:// cameras are not read: did you mean rtsp"),
        ("file:///etc/passwd", "file:// cameras are not read"),
        ("rtsp://", "names no host"),
        ("rtsp://admin:secret@/1", "names no host"),
        ("rtsp://admin:secret@[1", "names no host"),
        ("rtsp://admin:secret @cam/1", "has a blank in it"),
        ("rtsp://cam/?transport=smoke", "transport=smoke .*: tcp or udp"),
        ("https://cam/?verify=maybe", "verify=maybe .*: on or off"),
        ("csi://x", "the form is csi://SENSOR"),
        ("csi://0?size=1", "the form is csi://SENSOR"),
        ("csi://0?colour=1", "the form is csi://SENSOR"),
        ("gst:", "needs a pipeline"),
        ("gst:videotestsrc 'x", "not understood"),
        ("gst:videotestsrc ! autovideosink", "leave the sink out"),
        ("gst:videotestsrc ! appsink drop=true", "leave the sink out"),
    ],
)
def test_what_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as raised:
        open_source(text)
    assert "secret" not in str(raised.value)


@given(st.text(), st.sampled_from(["rtsp://", "http://", "csi://", "gst:", "", "0?", "//", "a://"]))
def test_any_text_is_a_feed_or_one_sentence(text: str, scheme: str) -> None:
    try:
        feed = feed_of(scheme + text)
    except Failure:
        return
    assert feed is None or Feed.from_json(feed.to_json()) == feed


def test_a_camera_shows_no_credentials() -> None:
    camera = open_source("rtsp://admin:secret@10.0.0.1/1?token=abc")
    assert isinstance(camera, Camera)
    assert camera.name == "rtsp://***@10.0.0.1/1?token=***"
    assert "secret" not in repr(vars(camera))


def test_the_policy_reaches_the_reader() -> None:
    for drop, expected in (("auto", "newest"), ("all", "all"), ("budget=100", "budget=100")):
        camera = open_source("rtsp://cam/1", drop=drop)
        assert isinstance(camera, Camera)
        assert camera._feed.drop == expected
    with pytest.raises(UsageError, match="--drop"):
        open_source("rtsp://cam/1", drop="some")


# GStreamer


def test_a_pipeline_that_hangs_after_its_error_is_told_by_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "gst-launch-1.0"
    program.write_text(
        f"#!{sys.executable}\n"
        "import os, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('ERROR: pipeline does not want to pause.', file=sys.stderr)\n"
        "print('ERROR: from element /a: no device b', file=sys.stderr, flush=True)\n"
        "os.close(int(sys.argv[-1].removeprefix('fd=')))\n"
        "time.sleep(600)\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    feed = feed_of("gst:nosuch")
    assert feed is not None
    with pytest.raises(Lost, match="GStreamer: ERROR: from element /a: no device b"):
        next(iter(Capture(feed)))


def test_without_gstreamer_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    for text in ("gst:videotestsrc", "csi://0"):
        with pytest.raises(DeviceMissing, match=r"apt-get install gstreamer1\.0-tools"):
            open_source(text)


def test_without_argus_there_is_no_csi_camera(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: "/usr/bin/gst-launch-1.0")
    monkeypatch.setattr(gstreamer, "has_element", lambda _: False)
    with pytest.raises(DeviceMissing, match=r"nvarguscamerasrc.*--camera 0"):
        open_source("csi://0")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("csi://", ["sensor-id=0", "'video/x-raw(memory:NVMM)'"]),
        (
            "csi://1?size=1280x720&fps=60",
            ["sensor-id=1", "width=1280,height=720", "framerate=60/1"],
        ),
    ],
)
def test_a_csi_camera_is_an_argus_pipeline(
    monkeypatch: pytest.MonkeyPatch, text: str, words: list[str]
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: "/usr/bin/gst-launch-1.0")
    monkeypatch.setattr(gstreamer, "has_element", lambda name: name == "nvarguscamerasrc")
    feed = feed_of(text)
    assert feed is not None
    assert feed.kind == "gstreamer"
    assert all(word in feed.address for word in words)


# Times


@pytest.mark.parametrize(
    ("stamp", "captured"),
    [
        pytest.param(99.9, 99.9, id="the driver's clock is ours"),
        pytest.param(None, 100.0, id="no stamp"),
        pytest.param(1.7e9, 100.0, id="time of day"),
        pytest.param(0.0, 100.0, id="counted from the first frame"),
    ],
)
def test_age_includes_the_drivers_queue_if_its_clock_is_ours(
    stamp: float | None, captured: float
) -> None:
    assert device_time(stamp, now=100.0) == captured


def test_what_a_network_adds_counts_as_age() -> None:
    clock = ArrivalClock()
    delays = [0.05, 0.02, 0.30, 0.02, 0.02]
    ages = []
    for index, delay in enumerate(delays):
        now = 1000 + index / 25 + delay
        ages.append(now - clock.captured(5 + index / 25, now))
    assert ages == pytest.approx([0.0, 0.0, 0.28, 0.0, 0.0], abs=1e-9)


def test_a_drifting_clock_is_followed() -> None:
    for rate in (1 + 100e-6, 1 - 100e-6):  # a camera 100 ppm fast or slow
        clock = ArrivalClock()
        for index in range(25 * 60):
            now = 1000 + index / 25
            age = now - clock.captured(index / 25 * rate, now)
            assert -1e-9 <= age <= 2 * WINDOW * 1.1e-4


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(0, 30)), max_size=50))
def test_no_frame_is_from_the_future_or_long_gone(steps: list[tuple[float, float]]) -> None:
    """Whatever the camera's clock does: jumps of `stamp`, pauses of up to 30 s."""
    clock, now = ArrivalClock(), 1000.0
    for stamp, pause in steps:
        now += pause
        age = now - clock.captured(stamp, now)
        assert -1e-6 <= age <= WINDOW + 1e-6


def test_frames_without_stamps_are_new() -> None:
    assert ArrivalClock().captured(None, 7.0) == 7.0


@pytest.mark.parametrize("make", [lambda path: path, lambda path: f"{path}?size=64x48"])
def test_devices_that_are_not_there(make: Callable[[str], str], tmp_path: Path) -> None:
    with pytest.raises(Failure, match="no camera at /dev/no-such"):
        open_source(make("/dev/no-such"))


def test_network_feeds_are_short_lived_strings() -> None:
    feed = network_feed("rtsp://admin:secret@cam/1")
    assert "secret" not in repr(feed)
