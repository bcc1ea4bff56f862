"""Ctrl-C and SIGTERM as a wish to stop, not as an exception at a random line."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stopping_on_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` once, from another thread, on the first SIGINT or SIGTERM inside the `with`.

    A second signal raises KeyboardInterrupt, for the user who will not wait. Main thread only.
    """
    # A handler runs between two lines of the main thread, which may hold the very lock that `stop`
    # needs. SimpleQueue.put is documented to be safe there; everything else is the watcher's.
    wishes: SimpleQueue[bool] = SimpleQueue()

    def handle(number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.default_int_handler)
        wishes.put(True)

    def watch() -> None:
        if wishes.get():
            stop()

    watcher = threading.Thread(target=watch, name="signals", daemon=True)
    watcher.start()
    before = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        wishes.put(False)
        watcher.join()
