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

    A thread that looks after several slots asks for their state, and sets `changed` to be woken by
    any change of it.
    """

    def __init__(
        self, policy: DropPolicy = ALL, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.dropped = 0
        self.changed: Callable[[], None] = lambda: None  # must return at once
        self._policy = policy
        self._clock = clock
        self._items: deque[tuple[float, T]] = deque()  # (when put, item)
        self._ended = False
        self._condition = threading.Condition()

    @property
    def filled(self) -> bool:
        """Whether an item is inside: it, or a newer one, can be taken without waiting."""
        return bool(self._items)

    @property
    def room(self) -> bool:
        """Whether an item can be put without waiting or dropping another one."""
        return not self._items and not self._ended

    @property
    def ended(self) -> bool:
        """Whether no further item will be put."""
        return self._ended

    @property
    def drained(self) -> bool:
        """Whether no further item will be taken."""
        return self._ended and not self._items

    def put(self, item: T) -> None:
        """Hand an item over; raises `Ended` if the slot was ended or closed."""
        with self._condition:
            if self._policy.name == "all":
                self._condition.wait_for(lambda: self._ended or not self._items)
            if self._ended:
                raise Ended
            self._items.append((self._clock(), item))
            self._give_up()
            self._tell()

    def take(self, timeout: float | None = None) -> T:
        """The next item; `Ended` if there will be none, `TimeoutError` after `timeout` seconds."""
        with self._condition:
            self._condition.wait_for(lambda: self._ended or bool(self._items), timeout)
            self._give_up()
            if self._items:
                _, item = self._items.popleft()
                self._tell()
                return item
            if self._ended:
                raise Ended
            raise TimeoutError

    def end(self) -> None:
        """The producer's last word: what is inside may still be taken."""
        with self._condition:
            if not self._ended:
                self._ended = True
                self._tell()

    def close(self) -> None:
        """Wake both sides for good; what is inside is discarded, not counted as dropped."""
        with self._condition:
            if not self.drained:
                self._items.clear()
                self._ended = True
                self._tell()

    def _tell(self) -> None:
        self._condition.notify_all()
        self.changed()

    def _give_up(self) -> None:
        """Drop what the policy does not keep; the newest item always stays."""
        if self._policy.name == "all":
            return
        oldest = self._clock() - self._policy.seconds
        newest_only = self._policy.name == "newest"
        while len(self._items) > 1 and (newest_only or self._items[0][0] < oldest):
            self._items.popleft()
            self.dropped += 1
