"""What systemd hears: READY=1 with the first frame, WATCHDOG=1 only while frames are fresh."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from runtime.systemd import Watchdog, interval, notify


@pytest.fixture
def systemd(tmp_path: Path) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listening.bind(str(tmp_path / "notify"))
    listening.settimeout(30)
    return listening


def test_a_watchdog_barks_only_while_all_is_well(systemd: socket.socket, tmp_path: Path) -> None:
    states: list[bool | None] = [None, True, True, False, True]
    dog = Watchdog(lambda: states.pop(0), {"NOTIFY_SOCKET": str(tmp_path / "notify")})
    for _ in range(5):
        dog.beat()
    systemd.setblocking(False)
    heard = []
    while True:
        try:
            heard.append(systemd.recv(1000).decode())
        except BlockingIOError:
            break
    assert heard == ["READY=1\nWATCHDOG=1\nSTATUS=streaming", "WATCHDOG=1", "WATCHDOG=1"]
    systemd.close()


def test_it_watches_by_itself_and_says_goodbye(systemd: socket.socket, tmp_path: Path) -> None:
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "20000"}
    with Watchdog(lambda: True, environment):
        assert systemd.recv(1000).startswith(b"READY=1")
        assert systemd.recv(1000) == b"WATCHDOG=1"
    heard = systemd.recv(1000)
    while heard == b"WATCHDOG=1":
        heard = systemd.recv(1000)
    assert heard == b"STOPPING=1"
    systemd.close()


def test_an_abstract_address_and_none() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("\0deeplab-edge-test")
        assert notify("READY=1", {"NOTIFY_SOCKET": "@deeplab-edge-test"})
        assert listening.recv(100) == b"READY=1"
    assert not notify("READY=1", {})
    assert not notify("READY=1", {"NOTIFY_SOCKET": "/nowhere/at/all"})


def test_half_of_the_watchdogs_time() -> None:
    assert interval({"WATCHDOG_USEC": "10000000"}) == 5.0
    assert interval({}) == interval({"WATCHDOG_USEC": "0"}) == 1.0
