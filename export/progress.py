"""Progress of a build, for people."""

from __future__ import annotations

import sys


def tell(text: str) -> None:
    """One line on stderr."""
    print(f"  {text} ...", file=sys.stderr, flush=True)
