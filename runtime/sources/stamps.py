"""When a picture was taken, on this machine's monotonic clock."""

from __future__ import annotations

WINDOW = 10.0  # s; a camera's clock that is 100 ppm wrong is off by 1 ms in it


def device_time(stamp: float | None, now: float) -> float:
    """When a frame was taken: the driver's time stamp in seconds, if it is on our clock.

    V4L2 drivers stamp buffers with CLOCK_MONOTONIC, so time spent in the driver's queue counts as
    age. A stamp of another clock (older drivers: the time of day) is not believed.
    """
    believable = stamp is not None and 0 <= now - stamp < 60
    return stamp if stamp is not None and believable else now


class ArrivalClock:
    """Capture times of a network camera, from its own time stamps.

    The camera's clock counts from anywhere, but evenly. The picture that came quickest after its
    stamp, within the last `WINDOW` to 2 `WINDOW` seconds, defines zero delay; what the others took
    longer (the network, a queue on the way) counts as their age. The delay of the quickest one
    itself, camera and cable, cannot be seen from here.
    """

    def __init__(self) -> None:
        self._began = float("-inf")  # of the current window
        self._before = self._current = float("inf")  # smallest arrival - stamp

    def captured(self, stamp: float | None, now: float) -> float:
        """The capture time of a picture with the camera's `stamp` that arrived `now`; seconds."""
        if stamp is None:
            return now
        if now - self._began > WINDOW:
            stale = now - self._began > 2 * WINDOW
            self._before = float("inf") if stale else self._current
            self._began, self._current = now, float("inf")
        offset = now - stamp
        if offset - min(self._before, self._current) > WINDOW:  # the camera's clock was set back
            self._before = self._current = float("inf")
        self._current = min(self._current, offset)
        return stamp + min(self._before, self._current)
