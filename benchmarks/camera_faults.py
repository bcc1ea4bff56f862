"""Network cameras that fail in every way seen in the field: servers on loopback for tests."""

from __future__ import annotations

import base64
import io
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import numpy as np
from PIL import Image

BOUNDARY = "frame"
HEADER = (
    "HTTP/1.0 200 OK\r\nServer: camera\r\nConnection: close\r\n"
    f"Content-Type: multipart/x-mixed-replace;boundary={BOUNDARY}\r\n\r\n"
).encode()
CREDENTIALS = b"Basic " + base64.b64encode(b"admin:secret")

Fault = Callable[["Viewer"], None]


class Viewer:
    """One connection to a faulty camera, as a fault sees it."""

    def __init__(self, connection: socket.socket, stopping: threading.Event) -> None:
        self.connection = connection
        self.request = b""
        self._stopping = stopping

    def send(self, data: bytes) -> None:
        """Send all of it; an OSError ends the fault once the viewer left or the server stops."""
        if self._stopping.is_set():
            raise ConnectionAbortedError
        self.connection.sendall(data)

    def hold(self) -> None:
        """Keep the connection open and silent until the viewer leaves or the server stops."""
        self.connection.settimeout(0.1)
        while not self._stopping.is_set():
            with suppress(TimeoutError):
                if not self.connection.recv(1 << 16):
                    return

    def frames(self, count: int, size: tuple[int, int] = (48, 64), rate: float = 100.0) -> None:
        """Send whole frames of `size` (height, width) at `rate` frames/s."""
        for index in range(count):
            if self._stopping.wait(1 / rate):
                raise ConnectionAbortedError
            self.send(part(jpeg(size, index)))


def jpeg(size: tuple[int, int], level: int = 0) -> bytes:
    """A JPEG of `size` (height, width), its grey telling `level`."""
    ramp = np.linspace(0, 100, size[1], dtype=np.uint8)
    image = np.broadcast_to(ramp[None, :, None] + level % 100, (*size, 3)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "jpeg")
    return buffer.getvalue()


def part(picture: bytes, length: int | None = None) -> bytes:
    """One part of the multipart stream; `length` lies about it."""
    size = len(picture) if length is None else length
    head = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {size}\r\n\r\n"
    return head.encode() + picture + b"\r\n"


def healthy(viewer: Viewer) -> None:
    """No fault: frames for as long as they are wanted."""
    viewer.send(HEADER)
    viewer.frames(1 << 30)


def silent(viewer: Viewer) -> None:
    """Accepts the connection and says nothing."""
    viewer.hold()


def hangs_in_a_frame(viewer: Viewer) -> None:
    """A few frames, half of one, then nothing more, the connection left open."""
    viewer.send(HEADER)
    viewer.frames(30)
    picture = part(jpeg((48, 64)))
    viewer.send(picture[: len(picture) // 2])
    viewer.hold()


def dies(viewer: Viewer) -> None:
    """A few frames, then the connection ends."""
    viewer.send(HEADER)
    viewer.frames(30)


def resets(viewer: Viewer) -> None:
    """A few frames, then the connection is reset, as by a camera that restarts."""
    dies(viewer)
    linger = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
    viewer.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)


def changes_size(viewer: Viewer) -> None:
    """64x48, then 96x80, then 32x32, in one connection."""
    viewer.send(HEADER)
    while True:
        for size in ((48, 64), (80, 96), (32, 32)):
            viewer.frames(10, size)


def half_pictures(viewer: Viewer) -> None:
    """Every other JPEG is cut in half."""
    viewer.send(HEADER)
    viewer.frames(5)
    whole = jpeg((48, 64))
    while True:
        viewer.frames(1)
        viewer.send(part(whole[: len(whole) // 2]))


def garbage(viewer: Viewer) -> None:
    """A right answer, then random bytes."""
    viewer.send(HEADER)
    noise = np.random.default_rng(0)
    for _ in range(200):
        viewer.send(noise.bytes(4096))


def garbage_between(viewer: Viewer) -> None:
    """Random bytes in the place of every third picture."""
    viewer.send(HEADER)
    noise = np.random.default_rng(0)
    viewer.frames(5)
    while True:
        viewer.frames(2)
        viewer.send(part(noise.bytes(2000)))


def no_http(viewer: Viewer) -> None:
    """Random bytes instead of an answer."""
    viewer.send(np.random.default_rng(0).bytes(4096))


def endless_header(viewer: Viewer) -> None:
    """Header lines without end."""
    viewer.send(b"HTTP/1.0 200 OK\r\n")
    while True:
        viewer.send(b"X-Filler: " + b"x" * 1000 + b"\r\n")
        time.sleep(1e-3)


def endless_line(viewer: Viewer) -> None:
    """One header line without end."""
    viewer.send(b"HTTP/1.0 200 OK\r\nX-Filler: ")
    while True:
        viewer.send(b"x" * 1000)
        time.sleep(1e-3)


def drips(viewer: Viewer) -> None:
    """The answer at ten bytes a second."""
    for byte in HEADER + part(jpeg((48, 64))):
        viewer.send(bytes([byte]))
        time.sleep(0.1)


def unauthorised(viewer: Viewer) -> None:
    """Wants a user and password: admin, secret."""
    if CREDENTIALS in viewer.request:
        healthy(viewer)
    else:
        viewer.send(b'HTTP/1.0 401 No\r\nWWW-Authenticate: Basic realm="camera"\r\n\r\n')


def missing(viewer: Viewer) -> None:
    """404."""
    viewer.send(b"HTTP/1.0 404 Not Found\r\nContent-Length: 0\r\n\r\n")


def failing(viewer: Viewer) -> None:
    """503."""
    viewer.send(b"HTTP/1.0 503 Busy\r\nContent-Length: 0\r\n\r\n")


def redirects_to_a_file(viewer: Viewer) -> None:
    """Sends the reader to a file of its own machine."""
    viewer.send(b"HTTP/1.0 302 Found\r\nLocation: file:///etc/hostname\r\n\r\n")


def redirects_for_ever(viewer: Viewer) -> None:
    """Sends the reader to itself."""
    viewer.send(b"HTTP/1.0 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n")


def playlist(viewer: Viewer) -> None:
    """Answers with a playlist that names a file of the reader's machine."""
    body = b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n"
    viewer.send(b"HTTP/1.0 200 OK\r\nContent-Type: application/x-mpegURL\r\n\r\n" + body)


def giant(viewer: Viewer) -> None:
    """A JPEG whose header claims 65500x65500 pixels."""
    picture = bytearray(jpeg((48, 64)))
    at = picture.index(b"\xff\xc0") + 5
    picture[at : at + 4] = (65500).to_bytes(2, "big") * 2
    viewer.send(HEADER)
    for _ in range(50):
        viewer.send(part(bytes(picture)))
        time.sleep(0.01)


def false_length(viewer: Viewer) -> None:
    """Claims each picture to be 2 GB long."""
    viewer.send(HEADER)
    while True:
        viewer.send(part(jpeg((48, 64)), 2**31))
        time.sleep(0.01)


@contextmanager
def http_camera(*faults: Fault, port: int = 0) -> Iterator[int]:
    """A camera on loopback whose n-th connection has the n-th fault, and the last one's after it;
    gives its port."""
    stopping = threading.Event()
    server = socket.create_server(("127.0.0.1", port), backlog=64)
    server.settimeout(0.05)
    threads: list[threading.Thread] = []

    def accept() -> None:
        count = 0
        while not stopping.is_set():
            with suppress(TimeoutError):
                connection, _ = server.accept()
                fault = faults[min(count, len(faults) - 1)]
                thread = threading.Thread(target=_attend, args=(connection, fault, stopping))
                thread.start()
                threads[:] = [*(other for other in threads if other.is_alive()), thread]
                count += 1

    acceptor = threading.Thread(target=accept)
    acceptor.start()
    try:
        yield server.getsockname()[1]
    finally:
        stopping.set()
        acceptor.join()
        server.close()
        for thread in threads:
            thread.join()


def _attend(connection: socket.socket, fault: Fault, stopping: threading.Event) -> None:
    """One viewer, from its request to its end."""
    viewer = Viewer(connection, stopping)
    with connection, suppress(OSError):
        connection.settimeout(2)
        while b"\r\n\r\n" not in viewer.request and fault is not silent:
            received = connection.recv(4096)
            if not received:
                return
            viewer.request += received
        fault(viewer)
