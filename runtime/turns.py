"""Whose turn it is: several lanes, one thread that serves them."""

from __future__ import annotations

from collections.abc import Callable


class Turns:
    """The lanes 0 to `count` - 1 in the order in which they were served: the longest ago first.

    A lane that is ready moves forward in every round in which it is left over, so none starves: it
    is served after at most `count` - 1 others.
    """

    def __init__(self, count: int) -> None:
        self._order = list(range(count))

    def choose(self, ready: Callable[[int], bool], most: int) -> list[int]:
        """At most `most` of the lanes that are `ready`, each once; their turn is over then."""
        chosen = [lane for lane in self._order if ready(lane)][:most]
        self._order = [lane for lane in self._order if lane not in chosen] + chosen
        return chosen
