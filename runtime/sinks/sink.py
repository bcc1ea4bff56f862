"""Where results go: a window, files, whatever has a `put`."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol

from runtime.lane import Result


class Sink(Protocol):
    """Takes results inside a `with`; leaving it finishes what was begun, whole or not at all.

    `put` is called by one thread, with the results in the order of the stream.
    """

    @property
    def name(self) -> str:
        """What timings and counts call it, in a word or two."""
        ...

    def put(self, result: Result) -> bool:
        """Take a result; False ends the stream, as a closed window does."""
        ...

    def __enter__(self) -> object: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None: ...
