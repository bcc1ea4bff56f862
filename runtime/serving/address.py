"""`--serve HOST:PORT`: where to listen, and whether that is this machine alone."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from engines.failures import UsageError

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Address:
    """Where the server listens; port 0 is any free one."""

    host: str
    port: int

    @property
    def local(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host == "localhost" or is_loopback(self.host)

    @property
    def url(self) -> str:
        """What to type into a browser on this machine."""
        host = {"0.0.0.0": LOOPBACK, "::": "::1"}.get(self.host, self.host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}/"


def parse_address(text: str) -> Address:
    """The address of `127.0.0.1:8080`, `[::1]:8080`, `:8080` or `8080`; the last two are local."""
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") or LOOPBACK
    if not port.isdecimal() or len(port) > 5 or not int(port) <= 65535:
        raise UsageError(f"--serve {text}: expected HOST:PORT, e.g. --serve {LOOPBACK}:8080")
    return Address(host, int(port))


def is_address(host: str) -> bool:
    """Whether it is numbers, and no name that somebody else's DNS might resolve."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether it is a loopback address."""
    return is_address(host) and ipaddress.ip_address(host).is_loopback
