"""In front of HTTP: no more connections than can be served, and none that never says anything."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

CONNECTIONS = 256  # 200 viewers, and room for everything else
HEADERS = 5.0  # seconds in which a new connection must have sent a whole request header
BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\n"
    b"Content-Length: 0\r\nConnection: close\r\n\r\n"
)
END = b"\r\n\r\n"


class Door:
    """Makes the protocol objects of a server; `make` gives aiohttp's own for each connection."""

    def __init__(self, make: Callable[[], Any], connections: int = CONNECTIONS) -> None:
        self.open = 0
        self.limit = connections
        self._make = make

    def __call__(self) -> Doorkeeper:
        """For one connection."""
        return Doorkeeper(self, self._make())


class Doorkeeper(asyncio.Protocol):
    """Passes everything on to HTTP's protocol object, once the connection is welcome.

    aiohttp itself bounds the size of headers and the time between requests, but waits for the first
    one for ever (slow loris).
    """

    def __init__(self, door: Door, inner: Any) -> None:
        self._door = door
        self._inner = inner
        self._timer: asyncio.TimerHandle | None = None
        self._tail = b""  # the header's end may come in two pieces
        self._welcome = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let it in, or say that all places are taken."""
        assert isinstance(transport, asyncio.Transport)
        self._door.open += 1
        if self._door.open > self._door.limit:
            transport.write(BUSY)
            transport.close()
            return
        self._welcome = True
        self._timer = asyncio.get_running_loop().call_later(HEADERS, transport.abort)
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Pass bytes on; the first whole header stops the clock."""
        if not self._welcome:
            return
        if self._timer is not None:
            seen = self._tail + data
            self._tail = seen[-len(END) + 1 :]
            if END in seen:
                self._timer.cancel()
                self._timer = None
        self._inner.data_received(data)

    def connection_lost(self, error: Exception | None) -> None:
        """Free the place."""
        self._door.open -= 1
        if self._timer is not None:
            self._timer.cancel()
        if self._welcome:
            self._inner.connection_lost(error)

    def eof_received(self) -> bool | None:
        """Pass it on."""
        return bool(self._inner.eof_received()) if self._welcome else None

    def pause_writing(self) -> None:
        """Pass it on: the viewer is slower than the stream."""
        if self._welcome:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        """Pass it on."""
        if self._welcome:
            self._inner.resume_writing()
