"""Faults of real servers: GStreamer's for RTSP and ffmpeg as a publisher, killed or frozen."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.source_acts import Act, free_port
from benchmarks.watched_camera import Watching, quick, watch
from runtime.sources.network import network_feed
from runtime.sources.status import State

RTSP_SERVER = Path(__file__).parents[1] / "tests" / "runtime" / "rtsp_server.py"
SYSTEM_PYTHON = "/usr/bin/python3"
INSTALL = "sudo apt-get install $(grep -v '#' tests/debian-packages.txt)"


@contextmanager
def rtsp_server(size: str = "64x48", port: int = 0, *credentials: str) -> Iterator[tuple[int, int]]:
    """GStreamer's RTSP server with H.264; its port and process."""
    width, _, height = size.partition("x")
    pipeline = (
        f"videotestsrc is-live=true ! video/x-raw,width={width},height={height},framerate=50/1 ! "
        "x264enc tune=zerolatency key-int-max=10 speed-preset=ultrafast ! rtph264pay name=pay0"
    )
    server = subprocess.Popen(
        [SYSTEM_PYTHON, str(RTSP_SERVER), str(port), pipeline, *credentials],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    try:
        with server.stdout as printed:
            yield int(printed.readline()), server.pid
    finally:
        server.kill()
        server.wait()


def rtsp_struck(number: signal.Signals, sizes: tuple[str, ...] = ("64x48",)) -> Act:
    """An RTSP server that is killed or frozen after some frames, and started again each time."""

    def act(times: int) -> tuple[int, str]:
        port = free_port()
        camera = quick(network_feed(f"rtsp://127.0.0.1:{port}/live"))
        with Watching(camera, times) as it:
            for index in range(times):
                with rtsp_server(sizes[index % len(sizes)], port) as (_, process):
                    it.wait_for(lambda: it.live)
                    os.kill(process, number)
                    it.wait_for(lambda: camera.status.state is State.RECONNECTING)
            with rtsp_server(sizes[times % len(sizes)], port):
                seen = it.wait()
        shown = ", ".join(sorted(seen.shown))
        return (seen.reconnects if seen.well else 0), f"live again; sizes {shown}"

    return act


def rtsp_login(times: int) -> tuple[int, str]:
    """A password that is wrong, and the right one."""
    words, survived = "it refuses the user or password", 0
    with rtsp_server("64x48", 0, "admin", "secret") as (port, _):
        for _ in range(times):
            wrong = watch(quick(network_feed(f"rtsp://admin:wrong@127.0.0.1:{port}/live")))
            right = watch(quick(network_feed(f"rtsp://admin:secret@127.0.0.1:{port}/live")))
            refused = words in wrong.reason and "wrong" not in wrong.reason
            survived += refused and right.well
    return survived, f"ends: “{words}”; live with the right one"


def publisher_killed(times: int) -> tuple[int, str]:
    """ffmpeg publishes MPEG-TS with H.264 over HTTP, is killed and started again."""
    port = free_port()
    words = "-f lavfi -re -i testsrc2=size=64x48:rate=50 -c:v libx264 -tune zerolatency -g 10"
    command = f"ffmpeg -loglevel quiet {words} -f mpegts -listen 1 http://127.0.0.1:{port}/live"
    camera = quick(network_feed(f"http://127.0.0.1:{port}/live"))
    with Watching(camera, times) as it:
        while not it.over:
            with _published(command) as ended:
                it.wait_for(lambda: it.live or ended())
                if camera.status.reconnects >= times:
                    it.wait_for(ended)  # or until it saw enough
            it.wait_for(lambda: not it.live)
        seen = it.seen
    return (min(times, seen.reconnects) if seen.well else 0), "live again"


@contextmanager
def _published(command: str) -> Iterator[Callable[[], bool]]:
    """A program that publishes, killed in the end; gives whether it ended before."""
    publisher = subprocess.Popen(command.split(), stdin=subprocess.DEVNULL)
    try:
        yield lambda: publisher.poll() is not None
    finally:
        publisher.kill()
        publisher.wait()


def missing_packages() -> list[str]:
    """Why the RTSP faults cannot be injected here."""
    probe = "import gi; gi.require_version('GstRtspServer', '1.0')"
    found = (
        shutil.which(SYSTEM_PYTHON)
        and subprocess.run([SYSTEM_PYTHON, "-c", probe], capture_output=True).returncode == 0
    )
    return [] if found and shutil.which("ffmpeg") else [f"RTSP server, ffmpeg: {INSTALL}"]
