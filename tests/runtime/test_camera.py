"""USB cameras: what names one, how it fails, what it offers. No camera is needed: FFmpeg's test
picture takes its place behind the same code, and a fake driver answers the questions."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import sys
import time
from contextlib import closing
from itertools import islice
from pathlib import Path

import av
import pytest

from engines.failures import SourceFailed, UsageError
from runtime.sources import v4l2_formats
from runtime.sources.backoff import Retry
from runtime.sources.camera import Camera
from runtime.sources.capture import Capture
from runtime.sources.feed import Feed, Lost
from runtime.sources.v4l2 import cameras_found, device_feed, device_path, stable_path
from runtime.sources.v4l2_formats import FMTDESC, FRMIVAL, FRMSIZE, offers


def acted(picture: str) -> Feed:
    """A feed of FFmpeg's lavfi in the place of V4L2."""
    return Feed("v4l2", picture, {"driver": "lavfi"})


@pytest.mark.parametrize(
    ("text", "device"),
    [
        ("0", "/dev/video0"),
        ("12", "/dev/video12"),
        ("0?fps=30", "/dev/video0"),
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


def test_options_become_the_drivers() -> None:
    feed = device_feed("/dev/null?size=1280x720&fps=29.97&format=mjpg")
    assert feed.options == {"video_size": "1280x720", "framerate": "29.97", "input_format": "mjpeg"}


@pytest.mark.parametrize(
    "query",
    ["size=0x0", "size=10", "fps=0", "fps=nan", "format=a b", "colour=1", "x", "size=1x1x1"],
)
def test_wrong_options_say_the_right_ones(query: str) -> None:
    with pytest.raises(UsageError, match=r"the options are size=WxH, fps=N and format=NAME"):
        device_feed(f"/dev/null?{query}")


def test_a_camera_is_opened_by_its_serial_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device, link = tmp_path / "video3", tmp_path / "usb-Maker_Camera_1234-video-index0"
    device.touch()
    link.symlink_to(device)
    monkeypatch.setattr(Path, "glob", lambda _self, _pattern: iter([link]))
    assert stable_path(str(device)) == str(link)
    assert stable_path("/dev/null") == "/dev/null"


def test_a_camera_delivers() -> None:
    with closing(iter(Capture(acted("testsrc=size=64x48:rate=15")))) as pictures:
        assert [picture.frame.width for picture in islice(pictures, 3)] == [64, 64, 64]


def test_a_camera_that_stops_is_lost() -> None:
    pictures = []
    with pytest.raises(Lost, match="it ended the stream"):
        for picture in Capture(acted("testsrc=size=64x48:rate=10:duration=0.3")):
            pictures.append(picture)
    assert len(pictures) == 3


@pytest.mark.parametrize(
    ("number", "advice", "passing"),
    [
        (errno.EACCES, "usermod -aG video", False),
        (errno.EBUSY, "fuser -v", True),
        (errno.ENOTTY, "it is no camera", False),
        (errno.ENOENT, "was it unplugged", True),
        (errno.ENODEV, "No such device", True),
        (errno.EINVAL, "the options are size=", False),
    ],
)
def test_why_it_does_not_open(
    monkeypatch: pytest.MonkeyPatch, number: int, advice: str, passing: bool
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(av, "open", refuse)
    with pytest.raises(SourceFailed, match=advice) as raised:
        next(iter(Capture(Feed("v4l2", "/dev/null"))))
    assert isinstance(raised.value, Lost) == passing


def test_a_device_that_is_no_camera() -> None:
    with pytest.raises(SourceFailed, match="it is no camera"):
        next(iter(Capture(Feed("v4l2", "/dev/null"))))


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
    pictures = iter(Capture(Feed("v4l2", "/dev/null")))
    assert len([next(pictures), next(pictures)]) == 2
    with pytest.raises(Lost, match=r"it stopped \(No such device\)"):
        next(pictures)


def test_cameras_found_lists_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    devices = [tmp_path / "video0", tmp_path / "video2"]
    monkeypatch.setattr(Path, "glob", lambda _self, _pattern: iter(devices))
    assert "video2 (unnamed); choose one with --camera" in cameras_found()
    monkeypatch.setattr(Path, "glob", lambda _self, _pattern: iter(()))
    assert cameras_found().endswith("the built-in camera is --camera street:")


# What a device offers


def fake_driver(handle: int, request: int, data: bytearray) -> None:
    """Answers as a webcam with MJPEG in two sizes, and a converter with a range of sizes."""
    index = int.from_bytes(data[:4], "little")
    mjpg, nv12 = (int.from_bytes(code, "little") for code in (b"MJPG", b"NV12"))
    answers: dict[int, list[bytes]] = {
        v4l2_formats.ENUM_FMT: [
            FMTDESC.pack(0, 1, 0, b"Motion-JPEG", mjpg, 0, 0, 0, 0),
            FMTDESC.pack(1, 1, 0, b"Y/UV 4:2:0", nv12, 0, 0, 0, 0),
        ]
    }
    if request != v4l2_formats.ENUM_FMT and int.from_bytes(data[4:8], "little") == mjpg:
        answers[v4l2_formats.ENUM_FRAMESIZES] = [
            FRMSIZE.pack(i, mjpg, 1, width, height, 0, 0, 0, 0, 0, 0)
            for i, (width, height) in enumerate([(1280, 720), (640, 480)])
        ]
        width, height = struct_pair(data, 8) if len(data) >= 16 else (0, 0)
        answers[v4l2_formats.ENUM_FRAMEINTERVALS] = [
            FRMIVAL.pack(i, mjpg, width, height, 1, 1, rate, 0, 0, 0, 0, 0, 0)
            for i, rate in enumerate([30, 15])
        ]
    elif request != v4l2_formats.ENUM_FMT:
        answers[v4l2_formats.ENUM_FRAMESIZES] = [
            FRMSIZE.pack(0, nv12, 3, 32, 4096, 2, 16, 2160, 2, 0, 0)
        ]
    try:
        data[:] = answers.get(request, [])[index]
    except IndexError:
        raise OSError(errno.EINVAL, "no more") from None


def struct_pair(data: bytearray, at: int) -> tuple[int, int]:
    return int.from_bytes(data[at : at + 4], "little"), int.from_bytes(
        data[at + 4 : at + 8], "little"
    )


def test_what_a_device_offers() -> None:
    assert offers("/dev/null", fake_driver) == [
        "mjpeg 1280x720 at 30, 15 frames/s",
        "mjpeg 640x480 at 30, 15 frames/s",
        "nv12 32x16",
        "nv12 4096x2160",
    ]


def test_what_is_no_device_offers_nothing() -> None:
    assert offers("/dev/null") == []
    assert offers("/dev/no-such-camera") == []


HEADER = """
#include <linux/videodev2.h>
#include <stddef.h>
#include <stdio.h>
int main(void) {
  printf("%lu %lu %lu %lu %zu %zu %zu %zu %zu %zu %zu %zu", (unsigned long)VIDIOC_G_FMT,
         (unsigned long)VIDIOC_ENUM_FMT,
         (unsigned long)VIDIOC_ENUM_FRAMESIZES, (unsigned long)VIDIOC_ENUM_FRAMEINTERVALS,
         sizeof(struct v4l2_fmtdesc), sizeof(struct v4l2_frmsizeenum),
         sizeof(struct v4l2_frmivalenum), offsetof(struct v4l2_fmtdesc, pixelformat),
         offsetof(struct v4l2_frmsizeenum, discrete), offsetof(struct v4l2_frmivalenum, discrete),
         sizeof(struct v4l2_format), offsetof(struct v4l2_format, fmt.pix.width));
  return 0;
}
"""


@pytest.mark.skipif(
    shutil.which("cc") is None or not Path("/usr/include/linux/videodev2.h").exists(),
    reason="no C compiler or kernel headers: sudo apt-get install gcc linux-libc-dev",
)
def test_layouts_are_the_kernels(tmp_path: Path) -> None:
    (tmp_path / "v.c").write_text(HEADER)
    subprocess.run(["cc", "-o", tmp_path / "v", tmp_path / "v.c"], check=True)
    printed = subprocess.run([tmp_path / "v"], capture_output=True, check=True).stdout
    assert [int(number) for number in printed.split()] == [
        v4l2_formats.G_FMT,
        v4l2_formats.ENUM_FMT,
        v4l2_formats.ENUM_FRAMESIZES,
        v4l2_formats.ENUM_FRAMEINTERVALS,
        FMTDESC.size,
        FRMSIZE.size,
        FRMIVAL.size,
        3 * 4 + 32,
        3 * 4,
        5 * 4,
        v4l2_formats.FORMAT.size,
        2 * 4,
    ]


# A driver in C, preloaded into the reader, in the place of the kernel's


@pytest.fixture
def plugged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of a camera that only readers started from here see."""
    if shutil.which("cc") is None or not Path("/usr/include/linux/videodev2.h").exists():
        pytest.skip("no C compiler or kernel headers: sudo apt-get install gcc linux-libc-dev")
    library, device = tmp_path / "fake_v4l2.so", tmp_path / "video0"
    source = Path(__file__).with_name("fake_v4l2.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    device.touch()
    monkeypatch.setenv("LD_PRELOAD", str(library))
    monkeypatch.setenv("FAKE_V4L2", str(device))
    return device


def usb(device: Path, told: list[str], **options: str) -> Camera:
    feed = Feed("v4l2", str(device), options, reading=0.5)
    return Camera(feed, "usb", retry=Retry(first=0.01, longest=0.05), tell=told.append)


@pytest.mark.parametrize("size", [(48, 64), (96, 128)])
def test_a_usb_camera_in_its_sizes(plugged: Path, size: tuple[int, int]) -> None:
    told: list[str] = []
    camera = usb(plugged, told, video_size=f"{size[1]}x{size[0]}", input_format="yuyv422")
    before = time.monotonic()
    with closing(iter(camera)) as frames:
        seen = list(islice(frames, 20))
    assert {frame.image.shape for frame in seen} == {(*size, 3)}
    levels = [float(frame.image.mean()) for frame in seen]
    assert levels == sorted(levels)  # it counts up
    captured = [frame.captured for frame in seen]
    assert before < captured[0] < captured[-1] < time.monotonic()
    assert told == [
        "usb offers yuyv422 64x48 at 50 frames/s",
        "usb offers yuyv422 128x96 at 50 frames/s",
        f"usb: live, {size[1]}x{size[0]} rawvideo at 50 frames/s",
    ]
    assert camera.fps == 50


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"video_size": "100x50"}, "it gives 128x96 instead of 100x50; it offers yuyv422 64x48"),
        ({"input_format": "mjpeg"}, "it does not take these options; it offers yuyv422 64x48"),
    ],
)
def test_what_a_usb_camera_does_not_offer(
    plugged: Path, options: dict[str, str], reason: str
) -> None:
    with pytest.raises(SourceFailed, match=reason):
        list(usb(plugged, [], **options))


@pytest.mark.parametrize("trouble", ["gone", "hung"])
def test_a_usb_camera_that_is_pulled_or_hangs_comes_back(plugged: Path, trouble: str) -> None:
    mark = plugged.with_name(f"video0.{trouble}")
    told: list[str] = []
    camera = usb(plugged, told)
    tell = camera._tell

    def heal(line: str) -> None:
        tell(line)
        if "reconnecting" in line:
            mark.unlink(missing_ok=True)

    camera._tell = heal
    with closing(iter(camera)) as frames:
        for frame in frames:
            if frame.index == 5:
                mark.touch()
            if frame.index == 40:
                break
    assert camera.status.reconnects == 1
    assert any(("No such device" if trouble == "gone" else "no frame") in line for line in told), (
        told
    )


# Drivers that hang


HUNG = """
import sys
from pathlib import Path
from engines.bundle import Bundle
from engines.session import open_session
from runtime.pipeline import one_camera
from runtime.sources.backoff import Retry
from runtime.sources.camera import Camera
from runtime.sources.feed import Feed

pipe, bundle = sys.argv[1:]
feed = Feed("v4l2", pipe, {"driver": "mpegts"}, opening=0.1)
with open_session(Bundle.open(Path(bundle)), "fp32") as session:
    with one_camera(Camera(feed, pipe, retry=Retry(to_start=0.1), tell=print), session) as stream:
        list(stream)
"""


@pytest.fixture
def hung_device(tmp_path: Path) -> Path:
    """A device whose driver never returns from being opened."""
    pipe = tmp_path / "camera"
    os.mkfifo(pipe)  # nobody writes to it
    return pipe


def test_a_driver_that_never_returns_does_not_keep_the_process_alive(
    hung_device: Path, tiny_bundle: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HUNG, str(hung_device), str(tiny_bundle)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert re.search(r"camera: it gave no frame for 1\.1 s", done.stderr)
