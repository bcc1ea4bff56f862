"""A camera under fault, watched until it is well again, gave up, or took too long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace

from engines.failures import SourceFailed
from runtime.sources.backoff import Retry
from runtime.sources.camera import Camera
from runtime.sources.feed import Feed
from runtime.sources.status import State

ENOUGH = 40  # frames of one connection that show it to be well; faulty ones deliver at most 30
GUARD = 120.0  # s for each time a fault happens, after which the camera counts as lost
EAGER = Retry(first=0.01, longest=0.02, to_start=float("inf"))
OPENING, READING = 1.5, 1.0  # s; the watchdog adds one. A user's are 8 and 4


@dataclass
class Seen:
    """What a camera did."""

    frames: int = 0
    well: bool = False  # one connection gave `ENOUGH` of them
    shown: set[str] = field(default_factory=set)  # sizes
    damaged: int = 0
    reconnects: int = 0
    reason: str = ""  # why it ended by itself


def quick(feed: Feed) -> Camera:
    """A camera with little patience for its readers and much for the fault."""
    return Camera(replace(feed, opening=OPENING, reading=READING), "camera", retry=EAGER)


def watch(camera: Camera, times: int = 1, each: Callable[[int], None] = lambda count: None) -> Seen:
    """Take frames until one connection gave `ENOUGH`, the camera gave up, or time is over.

    Args:
        camera: Iterated here.
        times: How often its fault will happen.
        each: Called with the number of frames of the connection so far.
    """
    seen, run, lost = Seen(), 0, 0
    timer = threading.Timer(GUARD * (times + 1), camera.close)
    timer.start()
    try:
        with closing(iter(camera)) as frames:
            for frame in frames:
                run = run + 1 if camera.status.reconnects == lost else 1
                lost = camera.status.reconnects
                seen.frames += 1
                seen.shown.add(f"{frame.image.shape[1]}x{frame.image.shape[0]}")
                if run >= ENOUGH:
                    seen.well = True
                    break
                each(run)
    except SourceFailed as failure:
        seen.reason = str(failure)
    finally:
        timer.cancel()
    seen.damaged, seen.reconnects = camera.damaged, camera.status.reconnects
    return seen


class Watching:
    """`with Watching(camera, times) as it:` watches in a thread, and closes the camera in the end.

    `seen` is complete once it is `over`.
    """

    def __init__(self, camera: Camera, times: int) -> None:
        self.camera = camera
        self.seen = Seen()
        self._times = times
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Watching:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.camera.close()
        self._thread.join()

    @property
    def over(self) -> bool:
        """Whether the camera is well, gave up, or took too long."""
        return not self._thread.is_alive()

    @property
    def live(self) -> bool:
        """Whether frames come."""
        return self.camera.status.state is State.LIVE

    def wait(self) -> Seen:
        """Until it is over; what the camera did."""
        self._thread.join()
        return self.seen

    def wait_for(self, condition: Callable[[], bool], times: int = 1) -> None:
        """Until it holds, it is over, or `times` `GUARD` seconds have passed."""
        deadline = time.monotonic() + GUARD * times
        while not (condition() or self.over) and time.monotonic() < deadline:
            time.sleep(0.005)

    def _watch(self) -> None:
        self.seen = watch(self.camera, self._times)
