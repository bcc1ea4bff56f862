"""Who may do what: the token, and requests that another site's page makes a browser send."""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import socket
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from engines.failures import UsageError
from runtime.journal import tell
from runtime.serving.address import Address, is_address, is_loopback

VARIABLE = "DEEPLAB_TOKEN"
SHORTEST = 16  # characters: what openssl rand -hex 8 prints, 64 bits that nobody guesses


@dataclass(frozen=True)
class Access:
    """The rules of one server.

    Args:
        address: Where it listens.
        token: What everyone must know; None: nothing is asked, for loopback or --insecure.
        hosts: Names it may be called besides this machine's own and any address in numbers.
    """

    address: Address
    token: str | None = None
    hosts: tuple[str, ...] = ()

    def knows_host(self, header: str) -> bool:
        """Whether a Host header names this server.

        A page of evil.example may point its own name at 127.0.0.1 (DNS rebinding) and would then
        be of the same origin as ours; but the browser says that name here. Addresses in numbers
        cannot be rebound. A server on loopback is called by loopback's names alone.
        """
        host = _host(header)
        if host == "localhost" or is_loopback(host) or host in self.hosts:
            return True
        if self.address.local:
            return False
        own = socket.gethostname().lower()
        return is_address(host) or host in (own, f"{own}.local", self.address.host.lower())

    def own_site(self, headers: Mapping[str, str]) -> bool:
        """Whether a request comes from our own page, or from no page at all."""
        origin = headers.get("Origin")
        if origin is not None and origin.partition("://")[2] != headers.get("Host"):
            return False
        return headers.get("Sec-Fetch-Site", "none") in ("none", "same-origin")

    def is_token(self, given: str) -> bool:
        """Compare with the token, in a time that tells nothing."""
        return self.token is not None and _equal(given, self.token)

    def admits(self, headers: Mapping[str, str], cookies: Mapping[str, str]) -> bool:
        """Whether a request carries the token as a Bearer header or the page's cookie."""
        if self.token is None:
            return True
        kind, _, given = headers.get("Authorization", "").partition(" ")
        if kind.lower() == "bearer" and self.is_token(given.strip()):
            return True
        cookie = cookies.get(self.cookie_name, "")
        return _equal(cookie, self.cookie)

    @property
    def cookie_name(self) -> str:
        """Browsers keep cookies per host, not per port: two servers must not share one."""
        return f"deeplab_{self.address.port}"

    @property
    def cookie(self) -> str:
        """What the page's cookie holds: made from the token, so it outlives a restart, and no use
        elsewhere."""
        key = (self.token or "").encode()
        return hmac.new(key, b"deeplab page cookie", hashlib.sha256).hexdigest()


def _equal(given: str, expected: str) -> bool:
    """Whether they are equal, in a time that tells nothing; headers may hold any bytes."""
    return hmac.compare_digest(given.encode(errors="surrogatepass"), expected.encode())


def _host(header: str) -> str:
    """The name in a Host header, without port; empty if it is none."""
    try:
        return (urlsplit(f"//{header}").hostname or "").rstrip(".")
    except ValueError:  # [::bad
        return ""


def choose_access(
    address: Address,
    token_file: Path | None = None,
    insecure: bool = False,
    hosts: tuple[str, ...] = (),
    environment: Mapping[str, str] = os.environ,
) -> Access:
    """The rules for an address; one that others reach without a token is a `UsageError`."""
    token = environment.get(VARIABLE) or None
    if token_file is not None:
        token = _read_token(token_file)
    if token is not None and len(token) < SHORTEST:
        raise UsageError(
            f"the token has {len(token)} characters, {SHORTEST} are the least: "
            "make one with openssl rand -hex 16"
        )
    if token is None and not address.local and not insecure:
        raise UsageError(
            f"--serve {address.host}:{address.port} would show the camera to everyone who reaches "
            f"this machine: set a token (--token-file F, or {VARIABLE}), or say --insecure"
        )
    return Access(address, token, tuple(host.lower() for host in hosts))


def _read_token(path: Path) -> str:
    try:
        token = path.read_text().strip()
        mode = path.stat().st_mode
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"--token-file {path} cannot be read ({error}): write one with "
            f"(umask 077; openssl rand -hex 16 > {path})"
        ) from None
    if mode & (stat.S_IROTH | stat.S_IWOTH):  # not refused: Docker's secrets are world-readable
        tell("token file is open to all users: chmod 600", logging.WARNING, file=path)
    return token
