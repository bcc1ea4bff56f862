"""Viewers of the picture: MJPEG for any program, a WebSocket with pictures and state for the page.

A viewer gets the newest picture each time it is ready for one, and never an older one.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from aiohttp import WSMsgType, web

from engines.failures import MALFORMED
from runtime.journal import tell
from runtime.serving.channel import Channel, Picture
from runtime.serving.newest import Newest

BOUNDARY = "frame"
WRITE = 20.0  # seconds after which a viewer that takes nothing is gone
IN_FLIGHT = 2  # pictures on their way to a page that has not yet said it showed them
BUFFER = 64 * 1024  # bytes; the kernel's own 4 MB would hold seconds of old video
NOT_SENT = 25  # TCP_NOTSENT_LOWAT of Linux; Python names it from 3.12 on
HEAD = struct.Struct("<BIf")  # channel, frame index, age in ms


class Screen:
    """A channel's pictures on the server's event loop."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.pictures: Newest[Picture] = Newest()

    def connect(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have the channel's pictures delivered to this loop."""
        self.channel.listener = lambda picture: _call(loop, self.pictures, picture)

    def disconnect(self) -> None:
        """Take no more."""
        self.channel.listener = lambda picture: None

    @contextmanager
    def watching(self) -> Iterator[int]:
        """Count as a viewer inside the `with`; the serial after which its first picture comes."""
        first = self.channel.join()
        tell("viewer joined", stream=self.channel.name, viewers=self.channel.viewers)
        try:
            yield max(0, self.pictures.serial - (0 if first else 1))
        finally:
            self.channel.leave()
            tell("viewer left", stream=self.channel.name, viewers=self.channel.viewers)


def _call(loop: asyncio.AbstractEventLoop, pictures: Newest[Picture], picture: Picture) -> None:
    with suppress(RuntimeError):  # the server has ended in this moment
        loop.call_soon_threadsafe(pictures.put, picture)


def keep_short(request: web.Request) -> asyncio.Transport:
    """Little may wait inside the kernel and the transport: what waits there grows old."""
    assert request.transport is not None
    request.transport.set_write_buffer_limits(high=BUFFER)
    connection = request.transport.get_extra_info("socket")
    connection.setsockopt(socket.IPPROTO_TCP, NOT_SENT, BUFFER)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * BUFFER)
    return request.transport


async def mjpeg(request: web.Request, screen: Screen) -> web.StreamResponse:
    """An endless answer of JPEGs: for <img>, ffplay, VLC and curl."""
    response = web.StreamResponse()
    response.content_type = "multipart/x-mixed-replace"
    response.headers["Content-Type"] = f"multipart/x-mixed-replace; boundary={BOUNDARY}"
    transport = keep_short(request)
    await response.prepare(request)
    with screen.watching() as serial, suppress(ConnectionError, asyncio.TimeoutError):
        while True:
            serial, picture = await screen.pictures.after(serial)
            await _send(response, transport, _part(picture))
    return response


async def _send(response: web.StreamResponse, transport: asyncio.Transport, part: bytes) -> None:
    """Send a part; a viewer that does not take it in time is a TimeoutError.

    Where it fits into the transport's buffer there is nothing to wait for, and no timer, which
    would be most of what a viewer costs.
    """
    if transport.get_write_buffer_size() + len(part) < BUFFER:
        await response.write(part)
    else:
        await asyncio.wait_for(response.write(part), WRITE)


def _part(picture: Picture) -> bytes:
    head = (
        f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture.jpeg)}\r\n"
        f"X-Frame-Index: {picture.index}\r\nX-Frame-Age-Ms: {_age_ms(picture):.1f}\r\n\r\n"
    )
    return head.encode() + picture.jpeg + b"\r\n"


class LivePage:
    """One page's WebSocket: states as text, pictures as binary messages headed by `HEAD`.

    The page says which channels it shows, {"watch": [0, 1]}, and that it has shown a picture of
    one, {"shown": 0}. A page on a slow line says so late and gets the newest picture then.
    """

    def __init__(self, screens: list[Screen], states: Newest[str]) -> None:
        self._screens = screens
        self._states = states
        self._socket = web.WebSocketResponse(heartbeat=15, max_msg_size=4096, compress=False)
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._credit = [asyncio.Semaphore(IN_FLIGHT) for _ in screens]

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        """Until the page goes away."""
        keep_short(request)
        await self._socket.prepare(request)
        telling = asyncio.create_task(self._tell_states())
        try:
            async for message in self._socket:
                if message.type != WSMsgType.TEXT or not self._understand(message.data):
                    break
        finally:
            await _cancel([telling, *self._tasks.values()])
            await self._socket.close()
        return self._socket

    def _understand(self, text: str) -> bool:
        """Do what the page asks; False if it makes no sense."""
        try:
            asked = json.loads(text)
            if "watch" in asked:
                self._watch({int(index) for index in asked["watch"]})
            else:
                self._credit[asked["shown"]].release()
        except MALFORMED:
            return False
        return True

    def _watch(self, wanted: set[int]) -> None:
        if not wanted <= set(range(len(self._screens))):
            raise ValueError("no such channel")
        for index in set(self._tasks) - wanted:
            self._tasks.pop(index).cancel()
        for index in wanted - set(self._tasks):
            self._credit[index] = asyncio.Semaphore(IN_FLIGHT)
            self._tasks[index] = asyncio.create_task(self._show(index))

    async def _show(self, index: int) -> None:
        screen = self._screens[index]
        with screen.watching() as serial, suppress(ConnectionError):
            while True:
                await self._credit[index].acquire()
                serial, picture = await screen.pictures.after(serial)
                head = HEAD.pack(index, picture.index & 0xFFFFFFFF, _age_ms(picture))
                await self._socket.send_bytes(head + picture.jpeg)

    async def _tell_states(self) -> None:
        serial = 0
        with suppress(ConnectionError):
            while True:
                serial, text = await self._states.after(serial)
                await self._socket.send_str(text)


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _age_ms(picture: Picture) -> float:
    return 1e3 * (time.monotonic() - picture.captured)
