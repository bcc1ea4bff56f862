"""How faults are injected into a camera of HTTP or of a reader: each act, some times in a row."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable

from benchmarks import camera_faults
from benchmarks.camera_faults import http_camera
from benchmarks.watched_camera import Watching, quick, watch
from runtime.sources.feed import Feed
from runtime.sources.network import network_feed
from runtime.sources.reader_process import ReaderProcess

Act = Callable[[int], tuple[int, str]]  # times -> survived, outcome in words


def passes(fault: camera_faults.Fault) -> Act:
    """Connections with the fault, then a healthy one, which the camera must reach."""

    def act(times: int) -> tuple[int, str]:
        with http_camera(*[fault] * times, camera_faults.healthy) as port:
            seen = watch(quick(network_feed(f"http://127.0.0.1:{port}/live")), times)
        return (times if seen.well else 0), "live again"

    return act


def endured(fault: camera_faults.Fault) -> Act:
    """A connection that goes on in spite of the fault."""

    def act(times: int) -> tuple[int, str]:
        survived, damaged, sizes = 0, 0, set[str]()
        for _ in range(times):
            with http_camera(fault) as port:
                seen = watch(quick(network_feed(f"http://127.0.0.1:{port}/live")))
            survived += seen.well and not seen.reconnects
            damaged += seen.damaged
            sizes |= seen.shown
        said = f"stays live; sizes {', '.join(sorted(sizes))}"
        return survived, said + (
            f"; {damaged} damaged pictures counted, none shown" * bool(damaged)
        )

    return act


def ends(fault: camera_faults.Fault, words: str, user: str = "") -> Act:
    """A fault that no patience helps against: the camera must say `words` and stop."""

    def act(times: int) -> tuple[int, str]:
        survived = 0
        for _ in range(times):
            with http_camera(fault) as port:
                seen = watch(quick(network_feed(f"http://{user}127.0.0.1:{port}/live")))
            survived += words in seen.reason and "wrong" not in seen.reason
        return survived, f"ends: “{words}”"

    return act


def refuses(times: int) -> tuple[int, str]:
    """A closed port; then a camera listens there."""
    port = free_port()
    camera = quick(network_feed(f"http://127.0.0.1:{port}/live"))
    tries = 0

    def count(line: str) -> None:
        nonlocal tries
        tries += "nothing answers" in line

    camera._tell = count
    with Watching(camera, times) as it:
        it.wait_for(lambda: tries >= times, times)
        with http_camera(camera_faults.healthy, port=port):
            seen = it.wait()
    return (min(tries, times) if seen.well else 0), "live once it listens"


def free_port() -> int:
    """One that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def reader_signalled(number: signal.Signals) -> Act:
    """A reader that crashes in a decoder, or freezes as in a driver."""

    def act(times: int) -> tuple[int, str]:
        feed = Feed("v4l2", "testsrc2=size=64x48:rate=200,realtime", {"driver": "lavfi"})
        camera = quick(feed)

        def strike(run: int) -> None:
            reader = camera._reader
            if run == 5 and camera.status.reconnects < times and isinstance(reader, ReaderProcess):
                os.kill(reader.pid, number)

        return watch(camera, times, strike).reconnects, "live again"

    return act
