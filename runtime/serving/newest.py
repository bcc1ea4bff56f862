"""The newest value for any number of waiting tasks, each at its own pace."""

from __future__ import annotations

import asyncio
from typing import Generic, TypeVar

T = TypeVar("T")


class Newest(Generic[T]):
    """A value that is replaced again and again; who is slow misses some. For one event loop."""

    def __init__(self) -> None:
        self.serial = 0  # how many values there have been
        self._value: T | None = None
        self._waiting: list[asyncio.Future[None]] = []

    @property
    def wanted(self) -> bool:
        """Whether anybody waits."""
        return bool(self._waiting)

    def put(self, value: T) -> None:
        """Replace the value and wake all who wait for it."""
        self._value = value
        self.serial += 1
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def after(self, serial: int) -> tuple[int, T]:
        """The newest value, with its serial, as soon as there is one after `serial`."""
        while self.serial <= serial:
            future = asyncio.get_running_loop().create_future()
            self._waiting.append(future)
            await future
        assert self._value is not None
        return self.serial, self._value
