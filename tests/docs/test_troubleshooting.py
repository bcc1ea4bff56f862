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


def says(texts: str, quote: str) -> bool:
    """Whether a quote's words stand in one of the texts, in their order; texts end with a NUL."""
    words = (part.strip() for part in quote.split("…"))
    return re.search("[^\0]*".join(map(re.escape, words)), texts) is not None


def test_what_is_quoted_is_said_somewhere() -> None:
    texts = "\0".join(sentences())
    for quote in quoted():
        assert says(texts, quote), f"nobody says {quote!r}"


def test_every_room_and_exit_code_has_a_row() -> None:
    kinds: dict[tuple[str, int], list[str]] = {}
    for message in messages():
        kinds.setdefault((message.room, message.code), []).append(message.text)
    for kind, texts in kinds.items():
        assert any(says("\0".join(texts), quote) for quote in quoted()), f"no row on {kind}"
