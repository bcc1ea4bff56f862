"""No credential survives `redact`, whatever characters it is made of."""

from __future__ import annotations

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.redaction import redact

SECRETS = st.text(string.ascii_letters + string.digits + "@:/?#!$%^*+=-_.,", min_size=1).map(
    lambda text: f"s3{text}cr3t"
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://10.0.0.1:554/1", "rtsp://10.0.0.1:554/1"),
        ("rtsp://admin:secret@10.0.0.1/1", "rtsp://***@10.0.0.1/1"),
        ("RTSP://admin@cam/1", "RTSP://***@cam/1"),
        ("rtsp://admin:p@ss@cam/1", "rtsp://***@cam/1"),
        ("rtsp://admin:a/b@cam/1", "rtsp://***@cam/1"),
        ("rtsp://admin:a b@cam/1", "rtsp://***@cam/1"),
        ("rtsp://admin:secret", "rtsp://***"),
        ("http://[::1]:80/a", "http://[::1]:80/a"),
        ("http://cam/a?token=xyz&size=2", "http://cam/a?token=***&size=2"),
        ("http://cam/a?apiKey=xyz#t", "http://cam/a?apiKey=***#t"),
        ("rtsp://cam/user=me_password=xyz/a", "rtsp://cam/user=***/a"),
        ("no answer from http://u:p@a, http://b", "no answer from http://***@a, http://b"),
        ('gst:rtspsrc user-id=me user-pw="a b" ! x', "gst:rtspsrc user-id=*** user-pw=*** ! x"),
        ("street:?fps=30&size=64x48", "street:?fps=30&size=64x48"),
        ("/videos/me@home.mp4", "/videos/me@home.mp4"),
        ("http://cam/@2x.jpg", "http://cam/@2x.jpg"),
    ],
)
def test_what_is_shown(text: str, shown: str) -> None:
    assert redact(text) == shown


@settings(deadline=None)
@given(SECRETS, st.sampled_from(["rtsp", "http", "https"]), st.sampled_from(["", ":554", ":x"]))
def test_a_password_never_survives(password: str, scheme: str, port: str) -> None:
    address = f"{scheme}://admin:{password}@camera{port}/live"
    for text in (address, f"{address} did not answer", f"'{address}'; see {address}"):
        shown = redact(text)
        assert password not in shown
        assert "cr3t" not in shown
        assert redact(shown) == shown


@given(st.text())
def test_any_text_is_accepted_and_redacted_once(text: str) -> None:
    shown = redact(text)
    assert redact(shown) == shown
