"""A stream without a model, served: on loopback, with real sockets."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.pipeline import one_camera
from runtime.serving.access import Access
from runtime.serving.address import Address
from runtime.serving.channel import Channel
from runtime.serving.recordings import Recordings
from runtime.serving.server import Server
from runtime.source import Frame
from runtime.sources.status import ALWAYS_LIVE
from runtime.switches import CRF_MODES, Settings, Switches

TOKEN = "correct horse battery staple"


class Camera:
    """A live camera of small grey frames; the test may hold it."""

    live = True
    fps = 50.0
    damaged = 0
    status = ALWAYS_LIVE

    def __init__(self, name: str = "rtsp://admin:hunter2@10.0.0.7/live") -> None:
        self.name = name
        self.delivering = threading.Event()
        self.delivering.set()
        self._closed = threading.Event()

    def __iter__(self) -> Iterator[Frame]:
        start, index = time.monotonic(), 0
        while not self._closed.wait(1 / self.fps):
            self.delivering.wait(0.05)
            if not self.delivering.is_set():
                continue
            now = time.monotonic()
            image = np.full((48, 64, 3), 20 + 5 * (index % 40), np.uint8)
            yield Frame(image, index, now, now - start)
            index += 1

    def close(self) -> None:
        self._closed.set()


class Served:
    """A stream that is consumed in a thread, and its channel."""

    def __init__(self, name: str, session: Any, folder: Path | None = None) -> None:
        self.camera = Camera()
        self.stream = one_camera(self.camera, session, patience=600)  # type: ignore[arg-type]
        self.changes: list[tuple[Settings, Settings]] = []
        settings = Settings(0.5, "off", "fp32")
        switches = Switches(settings, CRF_MODES, ("fp32", "int8"), self._apply)
        recordings = Recordings(folder, name, 25) if folder else None
        self.channel = Channel(name, self.stream.lanes[0], session, switches, recordings)
        self._consumer = threading.Thread(target=self._consume, daemon=True)

    def __enter__(self) -> Served:
        self.stream.__enter__()
        self._consumer.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stream.close()
        self._consumer.join()
        self.channel.close()

    def _consume(self) -> None:
        for result in self.stream:
            self.channel.publish(result)

    def _apply(self, before: Settings, after: Settings) -> None:
        self.changes.append((before, after))
        if after.paused != before.paused:
            (self.stream.pause if after.paused else self.stream.resume)()


@pytest.fixture
def served(session: Any, tmp_path: Path) -> Iterator[Served]:
    """One camera, with a folder for recordings."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    with Served("camera", session, folder) as result:
        yield result


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """`serve(served, ..., token=None, self_test=...)`: a running server on a free port."""
    with ExitStack() as stack:

        def start(*cameras: Served, token: str | None = None, **options: Any) -> Server:
            access = Access(Address("127.0.0.1", options.pop("port", 0)), token)
            channels = [camera.channel for camera in cameras]
            return stack.enter_context(Server(channels, access, **options))

        yield start


@pytest.fixture
def make_served(session: Any) -> Callable[..., Served]:
    """Make further cameras; use each with `with`."""
    return lambda name: Served(name, session)


@pytest.fixture
def until() -> Callable[..., None]:
    """Wait for a condition; a test that waits in vain fails."""

    def wait(condition: Callable[[], object], seconds: float = 30.0) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "it never came true"
            time.sleep(0.01)

    return wait
