"""Tokens, names that rebinding would use, and requests that other sites make."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from engines.failures import UsageError
from runtime.serving.access import VARIABLE, Access, choose_access
from runtime.serving.address import Address

LOCAL = Address("127.0.0.1", 8080)
EVERYWHERE = Address("0.0.0.0", 8080)
TOKEN = "0123456789abcdef"


def test_loopback_needs_no_token_and_everything_else_does() -> None:
    assert choose_access(LOCAL, environment={}).token is None
    with pytest.raises(UsageError, match=r"--token-file.*--insecure"):
        choose_access(EVERYWHERE, environment={})
    assert choose_access(EVERYWHERE, insecure=True, environment={}).token is None
    assert choose_access(EVERYWHERE, environment={VARIABLE: TOKEN}).token == TOKEN


def test_a_token_file_wins_over_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}!\n")
    access = choose_access(EVERYWHERE, file, environment={VARIABLE: TOKEN})
    assert access.token == f"{TOKEN}!"


def test_a_token_that_could_be_guessed_is_refused_without_being_shown(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="6 characters") as error:
        choose_access(LOCAL, environment={VARIABLE: "secret"})
    assert "secret" not in str(error.value)
    with pytest.raises(UsageError, match="cannot be read"):
        choose_access(LOCAL, tmp_path / "none", environment={})


@pytest.mark.parametrize(
    ("address", "host", "known"),
    [
        (LOCAL, "127.0.0.1:8080", True),
        (LOCAL, "localhost:9999", True),  # through ssh -L 9999:localhost:8080
        (LOCAL, "[::1]:8080", True),
        (LOCAL, "evil.example:8080", False),
        (LOCAL, "localhost.evil.example", False),
        (LOCAL, "10.1.2.3:8080", False),
        (LOCAL, "", False),
        (EVERYWHERE, "10.1.2.3:8080", True),
        (EVERYWHERE, f"{socket.gethostname()}:8080", True),
        (EVERYWHERE, "evil.example", False),
        (EVERYWHERE, "cams.example", True),
    ],
)
def test_names_of_this_server(address: Address, host: str, known: bool) -> None:
    hosts = ("cams.example",) if address is EVERYWHERE else ()
    assert Access(address, hosts=hosts).knows_host(host) is known


@pytest.mark.parametrize(
    ("headers", "own"),
    [
        ({"Host": "a:1"}, True),  # curl
        ({"Host": "a:1", "Origin": "http://a:1"}, True),
        ({"Host": "a", "Origin": "https://a"}, True),  # behind a proxy that speaks TLS
        ({"Host": "a:1", "Origin": "http://a:2"}, False),
        ({"Host": "a:1", "Origin": "null"}, False),
        ({"Host": "a:1", "Origin": "http://evil.example"}, False),
        ({"Host": "a:1", "Sec-Fetch-Site": "same-origin"}, True),
        ({"Host": "a:1", "Sec-Fetch-Site": "none"}, True),
        ({"Host": "a:1", "Sec-Fetch-Site": "same-site"}, False),
        ({"Host": "a:1", "Sec-Fetch-Site": "cross-site"}, False),
    ],
)
def test_requests_of_other_sites(headers: dict[str, str], own: bool) -> None:
    assert Access(LOCAL).own_site(headers) is own


def test_who_is_admitted() -> None:
    access = Access(LOCAL, TOKEN)
    assert access.admits({"Authorization": f"Bearer {TOKEN}"}, {})
    assert access.admits({}, {access.cookie_name: access.cookie})
    assert Access(LOCAL).admits({}, {})
    for authorization in ("", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x"):
        assert not access.admits({"Authorization": authorization}, {})
    assert not access.admits({}, {access.cookie_name: TOKEN})
    assert not access.admits({}, {access.cookie_name: "ümlaut"})
    assert not Access(LOCAL, f"{TOKEN}2").admits({}, {access.cookie_name: access.cookie})
    assert TOKEN not in access.cookie
