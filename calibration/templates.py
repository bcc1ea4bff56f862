"""The house's HTML pages: one look (`house.css`), one way to word numbers, no scripts."""

from __future__ import annotations

from pathlib import Path

import jinja2

from calibration.numerals import megabytes, number, signed


def environment(*folders: Path) -> jinja2.Environment:
    """Templates of these folders and of this room; what they insert is escaped, and a name that is
    not given is an error."""
    result = jinja2.Environment(
        loader=jinja2.FileSystemLoader([*folders, Path(__file__).parent]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    result.filters.update(number=number, signed=signed, megabytes=megabytes)
    return result
