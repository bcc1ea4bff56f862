"""docs/troubleshooting.md quotes messages that exist, and has something on every kind there is."""

from __future__ import annotations

import re
from collections.abc import Iterator

from docs.site.messages import messages, sentences
from tests.docs.pages import ROOT

PAGE = ROOT / "docs/troubleshooting.md"


def quoted() -> Iterator[str]:
    """The messages in the first column of the page's tables."""
    for line in PAGE.read_text().splitlines():
        if line.startswith("| `"):
            yield from re.findall(r"`([^`]+)`", line.split(" | ")[0])


def says(message: str, quote: str) -> bool:
    """Whether a quote's words stand in a message, in their order."""
    words = (part.strip() for part in quote.split("…"))
    return re.search(".*".join(map(re.escape, words)), message, re.DOTALL) is not None


def test_what_is_quoted_is_said_somewhere() -> None:
    texts = sentences()
    for quote in quoted():
        assert any(says(text, quote) for text in texts), f"nobody says {quote!r}"


def test_every_room_and_exit_code_has_a_row() -> None:
    raised = messages()
    quotes = list(quoted())
    explained = {
        (message.room, message.code)
        for message in raised
        if any(says(message.text, quote) for quote in quotes)
    }
    assert {(message.room, message.code) for message in raised} == explained
