"""What may be changed while a stream runs: one set of settings, for any number of threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from engines.failures import UsageError, hint

CRF_MODES = ("off", "fast", "exact")


@dataclass(frozen=True)
class Settings:
    """One state of all switches; never changed, only replaced."""

    alpha: float  # opacity of the mask, 0 to 1
    crf: str  # one of CRF_MODES
    precision: str
    paused: bool = False


Apply = Callable[[Settings, Settings], None]  # before, after


class Switches:
    """Settings that any thread may read (`now`) and change.

    A change is checked as a whole and takes the place of the old settings at once, so no reader
    ever sees half of it. `apply` carries it into the stream, whose stages look once a frame; it is
    called for one change after the other, and must return soon.

    Args:
        settings: To begin with.
        crf: The modes to choose from.
        precisions: Those of the bundle.
        apply: Gets the settings before and after each change.
        lock: Several cameras of one stream share one: a precision is all of theirs.
    """

    def __init__(
        self,
        settings: Settings,
        crf: tuple[str, ...] = (),
        precisions: tuple[str, ...] = (),
        apply: Apply = lambda before, after: None,
        lock: threading.RLock | None = None,
    ) -> None:
        self.choices = {
            "crf": crf or (settings.crf,),
            "precision": precisions or (settings.precision,),
        }
        self._now = settings
        self._apply = apply
        self._lock = lock or threading.RLock()

    @property
    def now(self) -> Settings:
        """The settings of this moment."""
        return self._now

    def change(self, wanted: Mapping[str, Any]) -> Settings:
        """Take over the given settings; a wrong name or value is a `UsageError`, and nothing is
        changed then."""
        known = [field.name for field in fields(Settings)]
        for name, value in wanted.items():
            if name not in known:
                raise UsageError(f"no setting {name!r}: {hint(name, known)}")
            self._check(name, value)
        with self._lock:
            before, after = self._now, replace(self._now, **wanted)
            if after != before:
                self._apply(before, after)
                self._now = after
            return after

    def follow(self, precision: str) -> None:
        """Show a precision that another camera's switches have set, for whoever holds the lock."""
        self._now = replace(self._now, precision=precision)

    def _check(self, name: str, value: Any) -> None:
        if name == "alpha":
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not (number and 0 <= value <= 1):
                raise UsageError("alpha: a number from 0 (no mask) to 1 (mask only)")
        elif name == "paused":
            if not isinstance(value, bool):
                raise UsageError("paused: true or false")
        elif value not in self.choices[name]:
            raise UsageError(f"{name}: one of {', '.join(self.choices[name])}")
