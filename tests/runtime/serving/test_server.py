"""The server's life: starting, ending with viewers, and connections that mean no good."""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import ExitStack, suppress
from typing import Any

import aiohttp
import pytest

from engines.failures import UsageError
from runtime.serving import doorkeeper
from runtime.serving.access import Access
from runtime.serving.address import Address
from runtime.serving.server import Server

HEAD = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


def connect(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.address.port), timeout=30)


def test_a_port_in_use_is_said_in_one_sentence(served: Any, serve: Any) -> None:
    first = serve(served)
    with pytest.raises(UsageError, match=rf"--serve 127.0.0.1:{first.address.port}.*another"):
        serve(served, port=first.address.port)


def test_it_ends_with_viewers_of_every_kind(served: Any, until: Any) -> None:
    lines = []
    with Server([served.channel], Access(Address("127.0.0.1", 0))) as server:
        for path in ("/api/streams/camera/video.mjpeg", "/healthz"):
            lines.append(connect(server))
            lines[-1].sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        lines.append(connect(server))  # says nothing
        lines.append(connect(server))
        lines[-1].sendall(
            b"GET /api/live HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        # Answered: so it and those before it were let in. One that asyncio accepts while its
        # server closes is left to the garbage collector (CPython 3.11: Server._attach asserts).
        assert lines[-1].recv(100).startswith(b"HTTP/1.1 101")
        until(lambda: served.channel.viewers == 1)
    assert not server._thread.is_alive()  # it was not abandoned
    assert served.channel.viewers == 0
    for line in lines:
        line.close()


@pytest.mark.parametrize("path", ["video.mjpeg", "live"])
def test_a_viewer_is_not_waited_for(
    served: Any, until: Any, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """GOODBYE is for requests that come to an end."""
    monkeypatch.setattr("runtime.serving.server.GOODBYE", 600.0)
    monkeypatch.setattr("runtime.serving.server.CLOSE", 60.0)
    address, ended = Address("127.0.0.1", 0), threading.Event()

    async def watch(url: str) -> None:
        async with aiohttp.ClientSession() as client:
            if path == "live":
                async with client.ws_connect(f"{url}api/live") as page:
                    await page.send_json({"watch": [0]})
                    async for _ in page:  # until it is closed
                        pass
            else:
                async with client.get(f"{url}api/streams/camera/{path}") as response:
                    with suppress(aiohttp.ClientError):
                        await response.read()
        ended.set()

    with Server([served.channel], Access(address)) as server:
        viewer = threading.Thread(target=lambda: asyncio.run(watch(server.address.url)))
        viewer.start()
        until(lambda: served.channel.viewers == 1)
    assert not server._thread.is_alive()
    assert ended.wait(30)
    viewer.join()


def test_viewers_of_a_camera_that_gives_nothing_may_go(served: Any, serve: Any, until: Any) -> None:
    server = serve(served)
    until(lambda: served.channel.latest)
    served.camera.delivering.clear()
    with ExitStack() as stack:
        for _ in range(5):
            line = stack.enter_context(connect(server))
            line.sendall(b"GET /api/streams/camera/video.mjpeg HTTP/1.1\r\nHost: localhost\r\n\r\n")
        until(lambda: served.channel.viewers == 5)
    until(lambda: served.channel.viewers == 0)


def test_a_connection_that_says_nothing_is_closed(
    served: Any, serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doorkeeper, "HEADERS", 0.2)
    server = serve(served)
    with connect(server) as silent, connect(server) as slow, connect(server) as honest:
        slow.sendall(b"GET /healthz HTTP/1.1\r\nHost: loc")  # slow loris: never a whole header
        honest.sendall(HEAD[:-3])
        honest.sendall(HEAD[-3:])  # the header's end in two pieces
        assert honest.recv(100).startswith(b"HTTP/1.1 200")
        for line in (silent, slow):
            with suppress(ConnectionResetError):
                assert line.recv(100) == b""
        honest.sendall(HEAD)  # it had its say: the clock is off
        answer = b""
        while b"alive" not in answer:
            answer += honest.recv(4096)


def test_more_connections_than_places(
    served: Any, serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    door = doorkeeper.Door.__init__
    monkeypatch.setattr(doorkeeper.Door, "__init__", lambda s, make: door(s, make, 3))
    server = serve(served)
    lines = [connect(server) for _ in range(3)]
    for line in lines:
        line.sendall(HEAD)
        assert line.recv(100).startswith(b"HTTP/1.1 200")
    with connect(server) as late:
        late.sendall(HEAD)
        assert late.recv(100).startswith(b"HTTP/1.1 503")
    for line in lines:
        line.close()

    async def knock() -> bytes:
        while True:  # the server hears of closed lines a moment later
            reader, writer = await asyncio.open_connection("127.0.0.1", server.address.port)
            writer.write(HEAD)
            answer = await reader.read(100)
            writer.close()
            if b"200" in answer:
                return answer
            await asyncio.sleep(0.05)

    assert asyncio.run(asyncio.wait_for(knock(), 30))


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 9000 + b"\r\n\r\n",
        b"\x16\x03\x01 this is TLS\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: [::bad\r\n\r\n",
    ],
)
def test_nonsense_is_refused_and_the_server_goes_on(
    served: Any, serve: Any, request_bytes: bytes
) -> None:
    server = serve(served)
    with connect(server) as line:
        line.sendall(request_bytes)
        answer = line.recv(100)
        assert answer == b"" or answer.split()[1].startswith(b"4")
    with connect(server) as line:
        line.sendall(HEAD)
        assert line.recv(100).startswith(b"HTTP/1.1 200")
