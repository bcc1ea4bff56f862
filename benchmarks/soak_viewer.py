"""A viewer of one camera's MJPEG, which reads from the pictures themselves how old they are."""

from __future__ import annotations

import http.client
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass

from benchmarks.soak_camera import SoakCamera, number_of

PATIENCE = 60.0  # s without a byte: above the longest that a camera may be away
PAUSE = 0.5  # s before it joins again
RATE_OF = 30  # pictures


@dataclass(frozen=True)
class Shown:
    """A picture on the viewer's screen; monotonic times."""

    sent: float  # by the camera
    arrived: float
    period: float  # s between two pictures, on average of the last `RATE_OF`

    @property
    def processing(self) -> float:
        """Seconds from the camera to the screen."""
        return self.arrived - self.sent


class SoakViewer:
    """`with SoakViewer(...)`: watches in a thread of its own; joins again if it is cut off.

    Attributes:
        now: What the screen shows.
        lags: Seconds from camera to screen, of all pictures.
        cut_off: How often the server ended the connection.
    """

    def __init__(self, port: int, stream: str, camera: SoakCamera) -> None:
        self.now: Shown | None = None
        self.lags: list[float] = []
        self.cut_off = 0
        self._port, self._path = port, f"/api/streams/{stream}/video.mjpeg"
        self._camera = camera
        self._arrivals: deque[float] = deque(maxlen=RATE_OF)
        self._ending = threading.Event()
        self._connection: http.client.HTTPConnection | None = None
        self._thread = threading.Thread(target=self._watch, name=f"viewer {stream}")

    def __enter__(self) -> SoakViewer:
        self._thread.start()
        return self

    def leave(self) -> None:
        """Look no more: what follows is the program's end."""
        self._ending.set()

    def __exit__(self, *error: object) -> None:
        self.leave()
        if self._connection is not None and self._connection.sock is not None:
            self._connection.sock.settimeout(0.01)
        self._thread.join()

    def _watch(self) -> None:
        while not self._ending.is_set():
            with suppress(OSError, http.client.HTTPException, ValueError):
                self._watch_once()
            self.cut_off += not self._ending.is_set()
            self._ending.wait(PAUSE)

    def _watch_once(self) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)
        self._connection.request("GET", self._path)
        answer = self._connection.getresponse()
        while not self._ending.is_set():
            line = answer.readline()
            if not line:
                return
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                while answer.readline().strip():
                    pass
                self._see(answer.read(int(value)))

    def _see(self, jpeg: bytes) -> None:
        arrived = time.monotonic()
        self._arrivals.append(arrived)
        period = (arrived - self._arrivals[0]) / max(1, len(self._arrivals) - 1)
        self.now = Shown(self._camera.sent(number_of(jpeg)), arrived, period)
        self.lags.append(self.now.processing)
