"""The builder's log: thousands of lines, of which errors, warnings and the layer list are kept."""

from __future__ import annotations

import re
from collections import Counter
from types import ModuleType
from typing import Any

# RTX logs it on every machine without a GPU, and builds all the same.
NOISE = "driver version is insufficient"
# "Missing scale and zero-point for tensor X": one warning for each X, and of no more use than one.
NAMED = re.compile(r"\b(tensor|node|layer|weights?) (?=\S*[/._0-9(])[^\s,]+")


def new_log(trt: ModuleType) -> Any:
    """A logger for this library; nothing is printed, failures are raised by who called.

    Its `errors` is a list, `warned()` message -> count, `layers` the text of the fused layers.
    """
    severity = trt.ILogger.Severity
    base: Any = trt.ILogger  # the library's own class, known only now

    class Log(base):  # type: ignore[misc]
        def __init__(self) -> None:
            base.__init__(self)
            self.errors: list[str] = []
            self.layers = ""
            self._warnings: Counter[str] = Counter()

        def log(self, level: Any, message: str) -> None:
            if level in (severity.ERROR, severity.INTERNAL_ERROR):
                if NOISE not in message:
                    self.errors.append(message)
            elif level == severity.WARNING:
                self._warnings[NAMED.sub(r"\1 ...", message.strip())] += 1
            elif message.startswith("Layers:"):
                self.layers = message

        def warned(self) -> dict[str, int]:
            return dict(self._warnings.most_common())

    return Log()
