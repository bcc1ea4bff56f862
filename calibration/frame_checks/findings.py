"""What the doctor finds in calibration frames: a stable code, a sentence, and which frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

NAMED = 3  # frames that a sentence names; the JSON has all of them


@dataclass(frozen=True)
class Finding:
    """A warning: `code` never changes, `message` says what, why probably, and what to do.

    `frames` names all frames that it is about; empty if it is about the set.
    """

    code: str
    message: str
    frames: tuple[str, ...] = ()


def listed(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    rest = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {rest} more" if rest > 0 else "")


def counted(number: int, total: int) -> str:
    """`3 of 60 frames`, and a verb that agrees with it."""
    return f"{number} of {total} frames {'is' if number == 1 else 'are'}"
