"""The house's docstrings, plain text with a little Markdown, as reStructuredText."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby

# List markers and `code` are kept; stars, underscores, bars and backslashes mean themselves.
MARKUP = re.compile(r"^(?:[-*]|\d+\.) |(?P<code>`[^`]*`)(?P<glued>\w)?|[*_|\\]", re.MULTILINE)


def to_rst(lines: list[str]) -> list[str]:
    """Paragraphs and lists with special characters escaped, and indented blocks word for word."""
    result: list[str] = []
    literal = False
    for block in blocks(lines):
        before, literal = literal, block[0].startswith("    ")
        if literal:
            result += [*([] if before else ["::", ""]), *block, ""]
        else:
            result += [*MARKUP.sub(escaped, "\n".join(block)).splitlines(), ""]
    return result


def escaped(mark: re.Match[str]) -> str:
    """What stands for one mark."""
    if mark["glued"]:  # `add`ed: the end of code must not touch a letter
        return f"{mark['code']}\\ {mark['glued']}"
    return mark[0] if mark["code"] or mark[0].endswith(" ") else f"\\{mark[0]}"


def blocks(lines: list[str]) -> Iterator[list[str]]:
    """Runs of lines between empty ones."""
    for filled, run in groupby(lines, key=lambda line: bool(line.strip())):
        if filled:
            yield list(run)
