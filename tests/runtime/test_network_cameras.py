"""Cameras on a network that fail: what the stream sees, with real servers on loopback."""

from __future__ import annotations

import http.server
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from benchmarks import camera_faults
from benchmarks.camera_faults import http_camera
from benchmarks.source_faults import FAULTS, Fault, suffer
from benchmarks.source_openings import AT_ONCE, open_often
from benchmarks.source_servers import missing_packages
from engines.failures import SourceFailed
from engines.session import Session
from runtime.drop_policy import ALL
from runtime.pipeline import one_camera
from runtime.source import open_source
from runtime.sources.backoff import Retry
from runtime.sources.camera import Camera
from runtime.sources.capture import Capture
from runtime.sources.network import network_feed
from runtime.sources.status import State

HERE = [  # faults that take no time-out to see
    *AT_ONCE,
    camera_faults.dies,
    camera_faults.resets,
    camera_faults.giant,
    camera_faults.half_pictures,
]
WELL = [camera_faults.half_pictures, camera_faults.dies, camera_faults.resets]  # at first


@pytest.mark.parametrize("fault", HERE, ids=lambda fault: fault.__name__)
def test_a_faulty_camera_is_a_reason_not_a_crash(fault: camera_faults.Fault) -> None:
    with http_camera(fault) as port:
        feed = replace(network_feed(f"http://admin:s3cr3t@127.0.0.1:{port}/"), opening=10.0)
        pictures = islice(Capture(feed), 3)
        if fault in WELL:
            assert len(list(pictures)) == 3
        else:
            with pytest.raises(SourceFailed) as raised:
                list(pictures)
            assert "s3cr3t" not in str(raised.value)


def test_pictures_that_arrive_in_part_are_counted_not_shown() -> None:
    with http_camera(camera_faults.half_pictures) as port:
        capture = Capture(network_feed(f"http://127.0.0.1:{port}/"))
        with closing(iter(capture)) as pictures:
            frames = [picture.frame.to_ndarray(format="gray") for picture in islice(pictures, 40)]
    assert capture.damaged > 10
    # Each row of the picture is the same; a half one would be grey below.
    assert all(abs(float(frame[0].mean()) - float(frame[-1].mean())) < 3 for frame in frames)


def test_the_right_password_opens() -> None:
    with http_camera(camera_faults.unauthorised) as port:
        feed = network_feed(f"http://admin:secret@127.0.0.1:{port}/")
        with closing(iter(Capture(feed))) as pictures:
            assert next(pictures).frame.width == 64
        wrong = network_feed(f"http://admin:wrong@127.0.0.1:{port}/")
        with pytest.raises(SourceFailed, match="refuses the user or password"):
            list(Capture(wrong))


def test_a_stream_goes_on_after_its_camera_came_back(session: Session) -> None:
    faults = [camera_faults.dies, camera_faults.failing, camera_faults.changes_size]
    with http_camera(*faults) as port:
        source = Camera(
            network_feed(f"http://127.0.0.1:{port}/"), "camera", retry=Retry(first=1e-3)
        )
        sizes = set()
        with one_camera(source, session) as stream:
            for result in stream:
                sizes.add(result.labels.shape)
                assert result.labels.shape == result.frame.image.shape[:2]
                if len(sizes) == 3:
                    break
        assert stream.reconnects == 1
    assert sizes == {(48, 64), (80, 96), (32, 32)}


@pytest.mark.parametrize("drop", ["newest", "all", "budget=20"])
def test_frames_captured_are_handed_over_or_dropped(drop: str, session: Any) -> None:
    """The camera sends 30 frames and dies; none is missing in the sum. The engine is slow."""
    slow = threading.Event()
    session.before = lambda: slow.wait(0.005)
    with http_camera(camera_faults.dies) as port:
        feed = replace(network_feed(f"http://127.0.0.1:{port}/"), drop=drop)
        capture = Capture(feed)
        with pytest.raises(SourceFailed):
            sent = 0
            for _ in capture:
                sent += 1
        source = Camera(feed, "camera", retry=Retry(to_return=0))
        handed = 0
        stream = one_camera(source, session, drop=ALL if drop == "all" else None)
        with stream, pytest.raises(SourceFailed, match="camera: it"):
            for _ in stream:
                handed += 1
    assert handed + stream.dropped + capture.damaged == sent
    assert drop != "all" or stream.dropped == 0


@contextmanager
def web_server(folder: Path) -> Iterator[int]:
    """A plain web server's port."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    def make(*arguments: Any) -> Quiet:
        return Quiet(*arguments, directory=str(folder))

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), make)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_video_of_a_web_server_is_read_whole(
    make_video: Callable[..., Path], levels: Callable[..., list[int]]
) -> None:
    path = make_video("film.mp4", count=12, fps=10)
    with web_server(path.parent) as port:
        source = open_source(f"http://127.0.0.1:{port}/film.mp4")
        assert not source.live
        frames = list(source)
        with pytest.raises(SourceFailed, match="nothing at this path"):
            list(open_source(f"http://127.0.0.1:{port}/other.mp4"))
    assert levels([frame.image for frame in frames]) == list(range(12))
    assert [frame.time for frame in frames] == pytest.approx([i / 10 for i in range(12)])
    assert source.status.state is State.ENDED


@pytest.mark.slow
@pytest.mark.parametrize("fault", AT_ONCE, ids=lambda fault: fault.__name__)
def test_a_thousand_times_leave_nothing_behind(fault: camera_faults.Fault) -> None:
    row = open_often(fault, 1000)
    assert (row.files, row.threads) == (0, 0)
    assert row.megabytes < 5


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_the_fault_matrix(fault: Fault) -> None:
    if fault.needs_gstreamer and (missing := missing_packages()):
        pytest.skip(missing[0])
    row = suffer(fault, 2)
    assert row.survived == 2, row.said
    assert (row.files, row.threads) == (0, 0)


@pytest.mark.skipif(
    shutil.which("gst-launch-1.0") is None,
    reason="no GStreamer: sudo apt-get install $(grep -v '#' tests/debian-packages.txt)",
)
class TestGStreamer:
    """Pipelines of the local user's."""

    @pytest.mark.slow
    def test_a_pipeline_delivers_and_its_end_is_a_loss(self) -> None:
        size = "video/x-raw,width=64,height=48,framerate=100/1"
        camera = open_source(
            f"gst:videotestsrc num-buffers=20 ! {size}", drop="all", retry=Retry(to_return=0)
        )
        frames = []
        with pytest.raises(SourceFailed, match="it ended the stream"):
            for frame in camera:
                frames.append(frame)
        assert len(frames) == 20
        assert frames[0].image.shape == (48, 64, 3)

    @pytest.mark.slow
    def test_a_wrong_pipeline_says_what_gstreamer_says(self) -> None:
        camera = open_source("gst:nosuchelement", retry=Retry(to_start=0))
        with pytest.raises(SourceFailed, match=r"GStreamer: .*nosuchelement"):
            list(camera)

    @pytest.mark.slow
    def test_a_pipeline_is_words_not_a_shell_line(self, tmp_path: Path) -> None:
        marker = tmp_path / "marker"
        camera = open_source(f"gst:videotestsrc ; touch {marker}", retry=Retry(to_start=0))
        with pytest.raises(SourceFailed, match="GStreamer"):
            list(camera)
        assert not marker.exists()

    @pytest.mark.slow
    def test_a_pipeline_that_hangs_leaves_no_process(self, tmp_path: Path) -> None:
        pipe = tmp_path / "device"
        subprocess.run(["mkfifo", str(pipe)], check=True)
        feed_text = f"gst:filesrc location={pipe} ! decodebin"
        camera = open_source(feed_text, retry=Retry(to_start=0))
        assert isinstance(camera, Camera)
        camera._feed = replace(camera._feed, opening=1.0)
        with pytest.raises(SourceFailed, match="gave no frame for 2 s"):
            list(camera)
        left = subprocess.run(["pgrep", "-f", str(pipe)], capture_output=True, check=False).stdout
        assert left == b""
