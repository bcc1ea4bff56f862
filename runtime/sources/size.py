"""Sizes and numbers in the options of a source, such as `size=1280x720`."""

from __future__ import annotations


def parse_size(text: str, low: int, high: int) -> tuple[int, int]:
    """(height, width) from `WIDTHxHEIGHT`, each within limits; else a ValueError."""
    width, height = (int(part) for part in text.lower().split("x"))
    return int(within(height, low, high)), int(within(width, low, high))


def within(value: float, low: float, high: float) -> float:
    """The value; a ValueError if it is outside the limits, or no number at all."""
    if not low <= value <= high:
        raise ValueError(f"{value} is not in {low}..{high}")
    return value
