"""A place for one item between two threads, where both sides wait without spinning."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

T = TypeVar("T")


class Ended(Exception):
    """No item will ever come (or be wanted) here again."""


class Slot(Generic[T]):
    """Hands items from one producer thread to one consumer thread, in order.

    With `newest=False` a full slot makes `put` wait, so nothing is lost: back pressure. With
    `newest=True` `put` never waits and replaces an item that nobody took; `dropped` counts those
    exactly. One place is enough: a longer queue in front of a slower stage only makes frames older.
    """

    def __init__(self, *, newest: bool = False) -> None:
        self.dropped = 0
        self._newest = newest
        self._items: list[T] = []  # none or one
        self._ended = False
        self._changed = threading.Condition()

    def put(self, item: T) -> None:
        """Hand an item over; raises `Ended` if the slot was ended or closed."""
        with self._changed:
            if not self._newest:
                self._changed.wait_for(lambda: self._ended or not self._items)
            if self._ended:
                raise Ended
            self.dropped += len(self._items)
            self._items = [item]
            self._changed.notify_all()

    def take(self, timeout: float | None = None) -> T:
        """The next item; `Ended` if there will be none, `TimeoutError` after `timeout` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or bool(self._items), timeout)
            if self._items:
                item = self._items.pop()
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
        """The producer's last word: the item inside may still be taken."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def close(self) -> None:
        """Wake both sides for good; an item inside is discarded, not counted as dropped."""
        with self._changed:
            self._items.clear()
            self._ended = True
            self._changed.notify_all()
