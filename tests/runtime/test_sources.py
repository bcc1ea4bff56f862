"""One contract for every source, and what each does with bad input."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.stream import VideoStream
from numpy.typing import NDArray
from PIL import Image

from engines.failures import SourceFailed, UsageError
from runtime.source import Frame, FrameSource, open_source
from runtime.sources.camera import Camera
from runtime.sources.feed import Feed
from runtime.sources.status import State
from runtime.sources.street import StreetSource
from runtime.sources.video_file import VideoSource

COUNT = 5  # frames that the contract tests look at

Levels = Callable[[Sequence[NDArray[np.uint8]]], list[int]]


@pytest.fixture(params=["video", "folder", "image", "street", "live street", "camera"])
def source(
    request: pytest.FixtureRequest, tmp_path: Path, make_video: Callable[..., Path]
) -> FrameSource:
    """Each kind of source, with at least one and at most COUNT frames of 64x48."""
    if request.param == "video":
        return open_source(str(make_video(count=COUNT)))
    if request.param == "camera":  # FFmpeg's test picture, through the code that reads V4L2
        return Camera(Feed("v4l2", "testsrc=size=64x48:rate=30", {"driver": "lavfi"}), "test")
    if "street" in request.param:
        live = "&fps=200" if "live" in request.param else ""
        return open_source(f"street:?size=64x48&frames={COUNT}{live}")
    for index in range(COUNT):
        Image.new("RGB", (64, 48), (index, 0, 0)).save(tmp_path / f"{index}.png")
    return open_source(str(tmp_path if request.param == "folder" else tmp_path / "3.png"))


def test_frames_are_rgb_numbered_and_in_time(source: FrameSource) -> None:
    before = time.monotonic()
    with closing(iter(source)) as frames:
        seen = list(islice(frames, COUNT))
    assert seen
    assert [frame.index for frame in seen] == list(range(len(seen)))
    for frame in seen:
        assert frame.image.shape == (48, 64, 3)
        assert frame.image.dtype == np.uint8
        assert frame.image.flags.c_contiguous
    captured = [frame.captured for frame in seen]
    assert captured == sorted(captured)
    assert before - 1 <= captured[0] <= captured[-1] <= time.monotonic()
    times = [frame.time for frame in seen]
    assert times[0] == pytest.approx(0, abs=0.1)
    assert times == sorted(times)


def test_a_source_says_what_it_is(source: FrameSource) -> None:
    assert source.name
    assert source.fps > 0
    assert source.damaged == 0
    assert source.live == (isinstance(source, Camera) or "fps" in source.name)


def test_closing_ends_the_iteration(source: FrameSource) -> None:
    with closing(iter(source)) as frames:
        next(frames)
        source.close()
        source.close()  # twice is once
        assert len(list(frames)) <= 1


def test_closing_the_generator_releases_the_device(source: FrameSource) -> None:
    open_before = len(list(Path("/proc/self/fd").iterdir()))
    with closing(iter(source)) as frames:
        next(frames)
    assert len(list(Path("/proc/self/fd").iterdir())) <= open_before


# Video files

CLOSED_EARLY = """
import logging, sys
from contextlib import closing
from pathlib import Path
import av.logging
from runtime.sources.video_file import VideoSource
av.logging.set_level(av.logging.DEBUG)
logging.disable()
for _ in range(100):
    with closing(iter(VideoSource(Path(sys.argv[1])))) as frames:
        next(frames)
"""


def test_a_video_that_is_closed_early_does_not_hang_a_program_that_has_pyavs_log_on(
    make_video: Callable[..., Path],
) -> None:
    video = make_video(count=COUNT)
    subprocess.run([sys.executable, "-c", CLOSED_EARLY, video], timeout=60, check=True)


def test_a_video_yields_every_frame_at_its_time(
    make_video: Callable[..., Path], levels: Levels
) -> None:
    source = VideoSource(make_video(count=12, fps=10))
    frames = list(source)
    assert levels([frame.image for frame in frames]) == list(range(12))
    assert [frame.time for frame in frames] == pytest.approx([i / 10 for i in range(12)])
    assert source.fps == 10


def test_colours_of_a_video_are_rgb(tmp_path: Path) -> None:
    path = tmp_path / "red.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        red = np.full((48, 64, 3), (200, 30, 20), np.uint8)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(red, format="rgb24")))
        container.mux(stream.encode(None))
    (frame,) = VideoSource(path)
    assert frame.image.mean(axis=(0, 1)) == pytest.approx((200, 30, 20), abs=4)


def turn_by_tag(path: Path, matrix: tuple[int, int, int, int]) -> None:
    """Write a rotation into an MP4's track header, as a phone held upright does."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 44  # version 0: the 3x3 matrix starts 40 bytes after the flags
    for place, value in zip((0, 4, 12, 16), matrix, strict=True):
        data[at + place : at + place + 4] = (value << 16).to_bytes(4, "big", signed=True)
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("matrix", "bright"),
    [
        pytest.param((1, 0, 0, 1), "left", id="upright"),
        pytest.param((0, 1, -1, 0), "top", id="clockwise"),
        pytest.param((-1, 0, 0, -1), "right", id="upside-down"),
        pytest.param((0, -1, 1, 0), "bottom", id="counterclockwise"),
    ],
)
def test_a_phone_video_is_turned_upright(
    tmp_path: Path, matrix: tuple[int, int, int, int], bright: str
) -> None:
    path = tmp_path / "phone.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        image = np.zeros((48, 64, 3), np.uint8)
        image[:, :32] = 255
        container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    turn_by_tag(path, matrix)
    (frame,) = VideoSource(path)
    upright = bright in ("left", "right")
    assert frame.image.shape == ((48, 64, 3) if upright else (64, 48, 3))
    edges = {
        "left": frame.image[:, 0],
        "right": frame.image[:, -1],
        "top": frame.image[0],
        "bottom": frame.image[-1],
    }
    assert max(edges, key=lambda side: edges[side].mean()) == bright
    assert frame.image.flags.c_contiguous


def test_a_damaged_packet_is_counted_and_the_rest_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "damaged.avi"
    noise = np.random.default_rng(0).integers(0, 255, (5, 48, 64, 3), dtype=np.uint8)
    packets: list[bytes] = []
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        for index, image in enumerate(noise):
            picture = av.VideoFrame.from_ndarray(image, format="rgb24")
            picture.pts, picture.time_base = index, Fraction(1, 25)
            for packet in stream.encode(picture):
                packets.append(bytes(packet))
                container.mux(packet)
        container.mux(stream.encode(None))
    data = path.read_bytes()
    path.write_bytes(data.replace(packets[2], bytes(len(packets[2]))))
    source = VideoSource(path)
    times = [round(25 * frame.time) for frame in source]
    assert (times, source.damaged) == ([0, 1, 3, 4], 1)


def test_strange_file_names_are_only_names(tmp_path: Path, make_video: Callable[..., Path]) -> None:
    for name in ("a b.mp4", "$(touch x).mp4", "concat:x|y.mp4", "ünï\n%03d.mp4", "'\".mp4"):
        path = make_video(count=1).rename(tmp_path / name)
        assert len(list(open_source(str(path)))) == 1


def test_a_broken_off_file_is_refused_at_once(make_video: Callable[..., Path]) -> None:
    path = make_video(count=20)
    path.write_bytes(path.read_bytes()[:-600])  # the index of an MP4 is at its end
    with pytest.raises(SourceFailed, match=r"not a video that FFmpeg can read.*ffprobe"):
        VideoSource(path)


@pytest.mark.parametrize("content", [b"", b"hello, world\n" * 99, bytes(5000)])
def test_a_file_that_is_no_video_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    with pytest.raises(SourceFailed, match="video"):
        open_source(str(path))


def test_a_playlist_may_not_reach_for_anything(
    tmp_path: Path, make_video: Callable[..., Path]
) -> None:
    path = tmp_path / "list.m3u8"
    part = make_video("part.ts", codec="mpeg2video").name
    path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{part}\n#EXT-X-ENDLIST\n")
    with pytest.raises(SourceFailed, match="not a video that FFmpeg can read"):
        open_source(str(path))


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi", "a.mov", "a.ts", "a.mpg", "a.flv"])
def test_common_containers_are_read(make_video: Callable[..., Path], name: str) -> None:
    codec = "mpeg2video" if name.endswith("mpg") else "libx264"
    assert len(list(open_source(str(make_video(name, codec=codec))))) == 5


# Folders


def test_a_folder_is_read_in_name_order_without_what_is_no_image(tmp_path: Path) -> None:
    for name, level in (("b.png", 2), ("a.JPG", 1), ("c.jpeg", 3)):
        Image.new("RGB", (64, 48), (level * 60, 0, 0)).save(tmp_path / name, quality=95)
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / ".hidden.png").write_bytes(b"no image either")
    reds = [round(frame.image[0, 0, 0] / 60) for frame in open_source(str(tmp_path))]
    assert reds == [1, 2, 3]


def test_images_of_all_modes_become_rgb(tmp_path: Path) -> None:
    for mode in ("L", "P", "RGBA", "CMYK"):
        suffix = "jpg" if mode == "CMYK" else "png"
        Image.new(mode, (8, 6)).save(tmp_path / f"{mode}.{suffix}")
    assert [frame.image.shape for frame in open_source(str(tmp_path))] == [(6, 8, 3)] * 4


def test_exif_orientation_is_honoured(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned a quarter
    Image.new("RGB", (64, 48)).save(tmp_path / "a.jpg", exif=exif)
    assert next(iter(open_source(str(tmp_path)))).image.shape == (64, 48, 3)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceFailed, match="holds no images"):
        open_source(str(tmp_path))


def test_an_image_of_16_bits_is_refused_and_not_read_as_white(tmp_path: Path) -> None:
    Image.fromarray(np.array([[2000, 40000]], np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(SourceFailed, match=r"deep\.png has more than 8 bits a pixel"):
        list(open_source(str(tmp_path)))


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n truncated"])
def test_an_unreadable_image_is_named(tmp_path: Path, content: bytes) -> None:
    Image.new("RGB", (8, 6)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(content)
    with pytest.raises(SourceFailed, match=r"b\.png is not a readable image"):
        list(open_source(str(tmp_path)))


def make_images(folder: Path, *names: str) -> None:
    for level, name in enumerate(names):
        Image.new("RGB", (8, 6), (level * 20, 0, 0)).save(folder / name)


@pytest.mark.parametrize(
    ("pattern", "order"),
    [
        ("*.png", [0, 1, 2]),
        ("frame_*2.???", [1]),
        ("frame_%d.png", [0, 1, 2]),
        ("frame_%02d.png", [1, 2]),
        ("frame_%03d.png", [2]),
    ],
)
def test_patterns_name_images(tmp_path: Path, pattern: str, order: list[int]) -> None:
    make_images(tmp_path, "frame_9.png", "frame_12.png", "frame_100.png", "other.bmp")
    reds = [round(frame.image[0, 0, 0] / 20) for frame in open_source(str(tmp_path / pattern))]
    assert sorted(reds) == order
    assert "%" not in pattern or reds == order  # a sequence goes by number, not by name


def test_an_image_with_a_pattern_for_a_name_is_that_image(tmp_path: Path) -> None:
    make_images(tmp_path, "a[1]%d.png", "a1.png")
    assert len(list(open_source(str(tmp_path / "a[1]%d.png")))) == 1


@pytest.mark.parametrize("pattern", ["*.png", "%04d.png", "missing/%d.png"])
def test_a_pattern_without_images_is_refused(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(SourceFailed, match="holds no images"):
        open_source(str(tmp_path / pattern))


# The virtual camera


def test_the_street_is_the_same_every_time_and_moves() -> None:
    first, again = (list(StreetSource.parse("street:?size=64x48&frames=3&seed=5")) for _ in "ab")
    assert all(np.array_equal(a.image, b.image) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0].image, first[2].image)


def test_a_street_starts_until_it_has_a_frame() -> None:
    """Eight of them take long to draw their houses: nobody may call that a silent camera."""
    source = StreetSource.parse("street:?size=64x48&frames=1&fps=100")
    states = [source.status.state]
    list(source)
    states.append(source.status.state)
    assert states == [State.STARTING, State.LIVE]


def test_a_live_street_does_not_deliver_before_its_time() -> None:
    frames = list(StreetSource.parse("street:?size=64x48&frames=5&fps=100"))
    assert frames[-1].captured - frames[0].captured >= 0.04


@pytest.mark.parametrize(
    "text",
    [
        "street:?fps=0",
        "street:?fps=0.1",  # the next frame comes when the stream has given up
        "street:?fps=nan",
        "street:?size=10x10",
        "street:?size=640",
        "street:?frames=-1",
        "street:?colour=red",
        "street:nonsense",
    ],
)
def test_wrong_street_options_say_the_right_ones(text: str) -> None:
    with pytest.raises(UsageError, match="the options are fps=30"):
        open_source(text)


# Names that are no source


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("999", r"no camera at /dev/video999: .*--camera"),
        ("/dev/no-such-camera", r"no camera at /dev/no-such-camera: .*--camera"),
        ("missing.mp4", r"no file or folder 'missing.mp4'.*--camera street:"),
        ("", r"no file or folder"),
        ("x" * 5000, r"no file or folder"),
        ("a\0b", r"no file or folder"),
    ],
)
def test_a_missing_source_says_what_to_type(text: str, message: str) -> None:
    with pytest.raises(SourceFailed, match=message):
        open_source(text)


def test_a_misspelt_file_is_suggested(make_video: Callable[..., Path]) -> None:
    path = make_video("motorway.mp4")
    with pytest.raises(SourceFailed, match=r"did you mean .*motorway\.mp4\?"):
        open_source(str(path.with_name("motorwy.mp4")))


def test_frames_are_values(make_frame: Callable[..., Frame]) -> None:
    frame: Any = make_frame(0)
    with pytest.raises(AttributeError):
        frame.index = 1
