"""A place for items between two threads, where both sides wait without spinning."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from runtime.drop_policy import ALL, DropPolicy

T = TypeVar("T")


class Ended(Exception):
    """No item will ever come (or be wanted) here again."""


class Slot(Generic[T]):
    """Hands items from one producer thread to one consumer thread, in order.

    With the policy `all` a full slot makes `put` wait, so nothing is lost: back pressure. One place
    is enough: a longer queue in front of a slower stage only makes frames older. With `newest`
    `put` never waits and replaces an item that nobody took. With `budget` it never waits either,
    and items that have waited for too long give way, except the newest. `dropped` counts exactly:
    items put = taken + dropped + inside.
    """

    def __init__(
        self, policy: DropPolicy = ALL, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.dropped = 0
        self._policy = policy
        self._clock = clock
        self._items: deque[tuple[float, T]] = deque()  # (when put, item)
        self._ended = False
        self._changed = threading.Condition()

    def put(self, item: T) -> None:
        """Hand an item over; raises `Ended` if the slot was ended or closed."""
        with self._changed:
            if self._policy.name == "all":
                self._changed.wait_for(lambda: self._ended or not self._items)
            if self._ended:
                raise Ended
            self._items.append((self._clock(), item))
            self._give_up()
            self._changed.notify_all()

    def take(self, timeout: float | None = None) -> T:
        """The next item; `Ended` if there will be none, `TimeoutError` after `timeout` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or bool(self._items), timeout)
            self._give_up()
            if self._items:
                _, item = self._items.popleft()
                self._changed.notify_all()
                return item
            if self._ended:
                raise Ended
            raise TimeoutError

    def wait_for_room(self) -> None:
        """Return once the slot is empty; raises `Ended` if it was ended or closed.

        A stage that calls this before it takes its own input starts on the newest frame it can,
        not on one that then waits, growing old, for the stage behind it.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._ended or not self._items)
            if self._ended:
                raise Ended

    def end(self) -> None:
        """The producer's last word: what is inside may still be taken."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def close(self) -> None:
        """Wake both sides for good; what is inside is discarded, not counted as dropped."""
        with self._changed:
            self._items.clear()
            self._ended = True
            self._changed.notify_all()

    def _give_up(self) -> None:
        """Drop what the policy does not keep; the newest item always stays."""
        if self._policy.name == "all":
            return
        oldest = self._clock() - self._policy.seconds
        newest_only = self._policy.name == "newest"
        while len(self._items) > 1 and (newest_only or self._items[0][0] < oldest):
            self._items.popleft()
            self.dropped += 1
