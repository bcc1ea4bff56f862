"""Where to listen, and whether others reach it."""

from __future__ import annotations

import pytest

from engines.failures import UsageError
from runtime.serving.address import Address, parse_address


@pytest.mark.parametrize(
    ("text", "address", "local"),
    [
        ("127.0.0.1:8080", Address("127.0.0.1", 8080), True),
        ("localhost:0", Address("localhost", 0), True),
        ("8080", Address("127.0.0.1", 8080), True),
        (":8080", Address("127.0.0.1", 8080), True),
        ("[::1]:8080", Address("::1", 8080), True),
        ("127.8.9.1:80", Address("127.8.9.1", 80), True),
        ("0.0.0.0:8080", Address("0.0.0.0", 8080), False),
        ("[::]:8080", Address("::", 8080), False),
        ("192.168.1.5:8080", Address("192.168.1.5", 8080), False),
        ("jetson.lan:8080", Address("jetson.lan", 8080), False),
    ],
)
def test_addresses(text: str, address: Address, local: bool) -> None:
    assert parse_address(text) == address
    assert address.local is local


@pytest.mark.parametrize("text", ["", "localhost", "1.2.3.4:", "1.2.3.4:http", "x:65536", "x:-1"])
def test_what_is_no_address_is_said(text: str) -> None:
    with pytest.raises(UsageError, match="HOST:PORT"):
        parse_address(text)


def test_the_url_can_be_typed_on_this_machine() -> None:
    assert Address("0.0.0.0", 80).url == "http://127.0.0.1:80/"
    assert Address("::1", 81).url == "http://[::1]:81/"
