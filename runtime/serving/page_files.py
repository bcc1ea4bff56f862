"""The page's own files: read once at start, so no request ever names a path."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).with_name("page")
TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True)
class PageFile:
    """One file and its content type."""

    content: bytes
    content_type: str


def page_files() -> dict[str, PageFile]:
    """All of them, by name."""
    return {
        path.name: PageFile(path.read_bytes(), TYPES[path.suffix])
        for path in sorted(FOLDER.iterdir())
        if path.suffix in TYPES
    }
