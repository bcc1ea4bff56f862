"""The server of the stream's page: whatever comes in, it answers, and goes on."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest
from aiohttp import ClientSession, ClientTimeout
from hypothesis import strategies as st

from runtime.serving.access import Access
from runtime.serving.address import Address
from runtime.serving.server import Server
from tests.fuzz.conftest import Fuzz
from tests.fuzz.damage import DEEP, as_text, damaged, odd, odd_text, twisted
from tests.runtime.conftest import BrightnessSession
from tests.runtime.serving.conftest import TOKEN, Served

SETTINGS = "/api/streams/camera/settings"
PATHS = (
    "/", "/healthz", "/readyz", "/metrics", "/api/state", "/page/", "/login", SETTINGS,
    "/api/streams/camera/snapshot.png", "/api/streams/camera/recording", "/api/streams/",
)  # fmt: skip


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A stream with a token, that all tests of this file strike."""
    with Served("camera", BrightnessSession()) as served:
        access = Access(Address("127.0.0.1", 0), TOKEN)
        with Server([served.channel], access) as running:
            yield running


@pytest.fixture
def alive(server: Server, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """After the test the server answers, and no handler of it failed with a traceback."""
    yield
    status, _ = _get(server, "/api/state", {"Authorization": f"Bearer {TOKEN}"})
    assert status == 200
    failed = [record for record in caplog.get_records("call") if record.exc_info]
    assert not failed, caplog.handler.format(failed[0])


def _get(server: Server, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
    async def run() -> tuple[int, bytes]:
        async with (
            ClientSession(server.address.url, timeout=ClientTimeout(20)) as client,
            client.get(path, headers=headers) as answer,
        ):
            return answer.status, await answer.read()

    return asyncio.run(run())


def raw(server: Server, data: bytes) -> bytes:
    """Send bytes and the end of them; what comes back, less than 64 kB of it."""
    with socket.create_connection((server.address.host, server.address.port), 20) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while len(answer) < 1 << 16 and (part := connection.recv(4096)):
            answer += part
    return answer


def request(
    server: Server, method: str, path: str, body: bytes, kind: str, **headers: str
) -> bytes:
    """A request with the token."""
    lines = [
        f"{method} {path} HTTP/1.1",
        f"Host: 127.0.0.1:{server.address.port}",
        f"Content-Type: {kind}",
        f"Content-Length: {len(body)}",
        f"Authorization: Bearer {TOKEN}",
        "Connection: close",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join(lines).encode("utf-8", "surrogatepass") + b"\r\n\r\n" + body


def answered(answer: bytes) -> None:
    """A status that is not the server's own fault; no words are an answer to what is no HTTP."""
    if answer:
        status = int(answer.split(b" ", 2)[1])
        assert status < 500 or status == 503, answer[:300]
    assert b"Traceback" not in answer


@pytest.mark.usefixtures("alive")
def test_bytes_that_are_no_http(fuzz: Fuzz, server: Server) -> None:
    whole = request(server, "POST", SETTINGS, b'{"alpha": 0.5}', "application/json")
    known = [
        whole.replace(b"Bearer ", b"Bearer \xff"),
        whole.replace(b"Authorization: Bearer", b"Cookie: deeplab_0=\xff; a=\xc3; x"),
        whole.replace(b"json\r\n", b"json; charset=no-such-thing\r\n"),
        whole.replace(b"json\r\n", b"json; charset=utf-16\r\n"),
        whole.replace(b"Length: 14", b"Length: 99999999999999999999"),
        whole.replace(b"127.0.0.1", b"[::1"),
        whole.replace(b"127.0.0.1", b"\xff"),
        whole.replace(SETTINGS.encode(), b"/?token=\xff%ff"),
        whole.replace(SETTINGS.encode(), b"/page/../../../etc/passwd"),
        whole.replace(SETTINGS.encode(), b"http://[bad/"),
    ]
    fuzz(lambda data: answered(raw(server, data)), damaged(whole), known=known)


@pytest.mark.usefixtures("alive")
def test_paths_queries_and_headers(fuzz: Fuzz, server: Server) -> None:
    line = odd_text().map(lambda text: "".join(text.split())[:2000])
    # Not Expect: aiohttp 3.14.5 logs a traceback where it holds bytes that are no UTF-8.
    names = st.sampled_from(["Origin", "Cookie", "Sec-Fetch-Site", "Range", "Accept"])

    def read(told: tuple[str, str, str, str, str]) -> None:
        method, path, more, name, value = told
        headers = {name: value.replace("\r", "").replace("\n", "")}
        answered(raw(server, request(server, method, path + more, b"", "text/plain", **headers)))

    methods = st.sampled_from(["GET", "HEAD", "POST", "PUT", "OPTIONS", "DELETE", "get", ""])
    words = st.tuples(st.sampled_from(PATHS), st.sampled_from(["", "?show=", "?token=", "%"]), line)
    fuzz(
        read,
        st.tuples(methods, st.sampled_from(PATHS), words.map(lambda w: w[1] + w[2]), names, line),
    )


@pytest.mark.usefixtures("alive")
def test_bodies(fuzz: Fuzz, server: Server) -> None:
    good = {"alpha": 0.5, "crf": "off", "precision": "fp32", "paused": False}
    known = [DEEP[:4000], "9" * 4000, '{"alpha": 1e999}', '{"' + "x" * 4000 + '": 1}', "\ud800"]

    def read(text: str) -> None:
        body = text.encode("utf-8", "surrogatepass")
        for path in (SETTINGS, "/api/streams/camera/recording"):
            answered(raw(server, request(server, "POST", path, body, "application/json")))

    fuzz(read, twisted(good).map(as_text) | odd().map(as_text) | odd_text(), known=known)


@pytest.mark.filterwarnings("ignore")  # aiohttp's, of a header that it leaves out
@pytest.mark.usefixtures("alive")
def test_login_forms(fuzz: Fuzz, server: Server) -> None:
    kinds = st.sampled_from([
        "application/x-www-form-urlencoded", "multipart/form-data; boundary=b",
        "multipart/form-data", "application/x-www-form-urlencoded; charset=no-such-thing",
    ])  # fmt: skip
    form = b'--b\r\nContent-Disposition: form-data; name="token"\r\n\r\nx\r\n--b--\r\n'
    bodies = damaged(form) | damaged(b"token=abc%20d&token=%ff") | st.binary(max_size=50)

    def read(told: tuple[str, bytes]) -> None:
        answered(raw(server, request(server, "POST", "/login", told[1], told[0])))

    known = [
        ("multipart/form-data", b""),
        ("multipart/form-data; boundary=b", b"--b\r\nContent-Disp"),
        ("multipart/form-data; boundary=b", form[:-9]),
    ]
    fuzz(read, st.tuples(kinds, bodies), known=known)


@pytest.mark.usefixtures("alive")
def test_messages_of_the_page(fuzz: Fuzz, server: Server) -> None:
    known = [
        [DEEP[:4000]],
        ['{"watch": [1e400]}'],
        ['{"watch": [0]}', '{"shown": -1}'],
        ['{"shown": true}'],
        ['"watch"'],
        ['{"watch": "²"}'],
        ["9" * 4090],
        ["x" * 5000],
    ]
    good = [{"watch": [0]}, {"shown": 0}]
    texts = st.sampled_from(good).flatmap(twisted).map(as_text) | odd_text()
    fuzz(lambda messages: _talk(server, messages), st.lists(texts, max_size=4), known=known)


def _talk(server: Server, messages: list[str]) -> None:
    """Say the messages; the server goes on talking, or closes."""

    async def run() -> None:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with (
            ClientSession(server.address.url, timeout=ClientTimeout(20)) as client,
            client.ws_connect("/api/live", headers=headers) as page,
        ):
            with suppress(ConnectionError):  # it has closed the line after a message before
                for message in messages:
                    await page.send_str(message.encode(errors="replace").decode())
            await page.receive(10)

    asyncio.run(run())
