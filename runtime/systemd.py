"""Telling systemd that the stream is up and still fresh: `sd_notify` without its library.

The protocol is a datagram of KEY=VALUE lines to the socket that NOTIFY_SOCKET names (sd_notify(3)).
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Mapping
from typing import Any


def notify(text: str, environment: Mapping[str, str] = os.environ) -> bool:
    """Send lines such as READY=1 to systemd; False where nobody listens."""
    address = environment.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    if address.startswith("@"):  # the abstract namespace
        address = f"\0{address[1:]}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
        try:
            connection.sendto(text.encode(), address)
        except OSError:  # systemd is gone: nobody is left to be told
            return False
    return True


def interval(environment: Mapping[str, str] = os.environ) -> float:
    """Seconds between two signs of life: half of WatchdogSec, or 1 without a watchdog."""
    period = environment.get("WATCHDOG_USEC", "")
    return int(period) / 2e6 if period.isdigit() and int(period) else 1.0


class Watchdog:
    """Tells systemd READY=1 once `well` is true first, then WATCHDOG=1 for as long as it stays so.

    When it turns false nothing is sent any more, so systemd restarts the service after WatchdogSec.

    Args:
        well: Whether the stream does its work; None before it has begun to.
        environment: Of the process; a test gives another one.
    """

    def __init__(
        self, well: Callable[[], bool | None], environment: Mapping[str, str] = os.environ
    ) -> None:
        self._well = well
        self._environment = environment
        self._ready = False
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._work, name="watchdog", daemon=True)

    def beat(self) -> None:
        """One look, and what systemd gets to hear of it."""
        if not self._well():
            return
        lines = ["WATCHDOG=1"] if self._ready else ["READY=1", "WATCHDOG=1", "STATUS=streaming"]
        self._ready = notify("\n".join(lines), self._environment)

    def __enter__(self) -> Watchdog:
        if self._environment.get("NOTIFY_SOCKET"):
            self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._end.set()
        if self._thread.is_alive():
            self._thread.join()
        notify("STOPPING=1", self._environment)

    def _work(self) -> None:
        # Before READY=1 four looks a second: other services may wait for this one.
        while not self._end.wait(interval(self._environment) if self._ready else 0.25):
            self.beat()
