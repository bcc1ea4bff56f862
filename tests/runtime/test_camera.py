"""A real camera's ways to fail, acted by other FFmpeg inputs: no camera is needed."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from itertools import islice
from pathlib import Path

import av
import pytest

from engines.failures import SourceFailed
from runtime.sources.v4l2 import CameraSource, cameras_found, capture_time, device_path


@pytest.mark.parametrize(
    ("text", "device"),
    [
        ("0", "/dev/video0"),
        ("12", "/dev/video12"),
        ("/dev/v4l/by-id/cam", "/dev/v4l/by-id/cam"),
        ("video.mp4", None),
        ("-1", None),
        ("0x0", None),
    ],
)
def test_what_names_a_device(text: str, device: str | None) -> None:
    assert device_path(text) == device


def test_this_pyav_reads_v4l2() -> None:
    assert any("v4l2" in name.split(",") for name in av.formats_available)


def test_a_camera_delivers_at_its_rate() -> None:
    source = CameraSource("testsrc=size=64x48:rate=15", driver="lavfi")
    with closing(iter(source)) as frames:
        assert len(list(islice(frames, 3))) == 3
    assert source.fps == 15


def test_a_camera_that_stops_is_a_failure() -> None:
    frames = []
    with pytest.raises(SourceFailed, match="stopped delivering frames"):
        for frame in CameraSource("testsrc=size=64x48:rate=10:duration=0.3", driver="lavfi"):
            frames.append(frame)
    assert len(frames) == 3


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.EACCES, "usermod -aG video"),
        (errno.EBUSY, "fuser -v"),
        (errno.ENOTTY, "it is no camera"),
        (errno.ENODEV, "No such device"),
    ],
)
def test_why_it_does_not_open(monkeypatch: pytest.MonkeyPatch, number: int, advice: str) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(av, "open", refuse)
    with pytest.raises(SourceFailed, match=f"/dev/null did not open: .*{advice}"):
        next(iter(CameraSource("/dev/null")))


def test_a_device_that_is_no_camera() -> None:
    with pytest.raises(SourceFailed, match="/dev/null did not open: it is no camera"):
        next(iter(CameraSource("/dev/null")))


def test_an_unplugged_camera(monkeypatch: pytest.MonkeyPatch) -> None:
    class Unplugged:
        """A container whose reading fails as V4L2 does when the cable is pulled."""

        def __init__(self) -> None:
            self.real = av.open("testsrc=size=64x48", format="lavfi")
            self.streams = self.real.streams

        def demux(self, **_: int) -> object:
            yield from islice(self.real.demux(video=0), 2)
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))

        def __enter__(self) -> Unplugged:
            return self

        def __exit__(self, *_: object) -> None:
            self.real.close()

    device = Unplugged()
    monkeypatch.setattr(av, "open", lambda *_, **__: device)
    frames = iter(CameraSource("/dev/null"))
    assert len([next(frames), next(frames)]) == 2
    with pytest.raises(SourceFailed, match=r"stopped \(No such device\): was it unplugged\?"):
        next(frames)


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
    assert capture_time(stamp, now=100.0) == captured


def test_cameras_found_lists_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, make_video: Callable[..., Path]
) -> None:
    devices = [tmp_path / "video0", tmp_path / "video2"]
    monkeypatch.setattr(Path, "glob", lambda _self, _pattern: iter(devices))
    assert "video2 (unnamed); choose one with --camera" in cameras_found()
    monkeypatch.setattr(Path, "glob", lambda _self, _pattern: iter(()))
    assert cameras_found().endswith("the built-in camera is --camera street:")


HUNG = """
import sys
from pathlib import Path
from engines.bundle import Bundle
from engines.session import open_session
from runtime.sources.v4l2 import CameraSource
from runtime.pipeline import Stream

pipe, bundle = sys.argv[1:]
with open_session(Bundle.open(Path(bundle)), "fp32") as session:
    with Stream(CameraSource(pipe, driver="mpegts"), session, patience=0.1) as stream:
        list(stream)
"""


def test_a_driver_that_never_returns_does_not_keep_the_process_alive(
    tmp_path: Path, tiny_bundle: Path
) -> None:
    pipe = tmp_path / "camera"
    os.mkfifo(pipe)  # nobody writes to it, so opening it never returns
    done = subprocess.run(
        [sys.executable, "-c", HUNG, str(pipe), str(tiny_bundle)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "camera gave no frame for 0.1 s" in done.stderr
