"""A mean of the last values, in the memory of one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass
class Mean:
    """A mean that forgets: over the first `window` values, then each new one weighs 1/window."""

    window: int
    value: Any = 0.0
    count: int = 0

    def add(self, value: Any) -> Any:
        """Take a value, a number or an array; the mean so far."""
        self.count = min(self.count + 1, self.window)
        self.value = self.value + (value - self.value) / self.count
        return self.value

    @property
    def settled(self) -> bool:
        """Whether as many values came as it goes over."""
        return self.count == self.window
