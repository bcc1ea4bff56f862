"""Numbers as people read them."""

from __future__ import annotations


def number(value: float | None, digits: int = 2, unknown: str = "–") -> str:
    """A number, or a dash where there is none; what rounds to nothing has no sign."""
    if value is None:
        return unknown
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")


def signed(value: float | None, digits: int = 2) -> str:
    """A difference with its sign; what rounds to nothing has none."""
    if value is None:
        return "–"
    text = f"{abs(value):.{digits}f}"
    return text if float(text) == 0 else f"{'+' if value > 0 else '−'}{text}"


def megabytes(count: int) -> str:
    """Bytes as megabytes of a million bytes."""
    return f"{count / 1e6:.1f} MB"


def size(height_width: tuple[int, int]) -> str:
    """Height and width as people say them: 480×360."""
    height, width = height_width
    return f"{width}×{height}"
