"""When a stream's engine differs from the reference by more than its accuracy report found."""

from __future__ import annotations

import logging
from numbers import Real

from engines.bundle import Bundle
from engines.choice import timed_rows
from engines.session import Session
from runtime.agreement import Agreement
from runtime.alarm import Alarm
from runtime.engine_name import in_words
from runtime.journal import tell

# How many times the report's differing pixels are allowed, and how many on top of them for kernels
# of another processor. The bundled INT8 differs in 0.34 % on CamVid's val. Seen beyond it: 0.29 and
# 0.57 % on two dash cameras, 0.3 to 0.4 % on streets; 5.9 % on a camera high above a road, which no
# frame of calibration is like. On streets with the classifier's weights of one class gone: 0.9
# (Bicyclist) to 7.3 % (Building), past this limit of 1.1 % for ten of the eleven classes.
FACTOR, FLOOR = 3.0, 0.001
CALM = 100  # compared frames


class AgreementAlarm:
    """Warns, once, when the agreement of the last frames falls under `limit` (0 to 1)."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self._alarm = Alarm("labels differ from the reference", 1.0, CALM)

    @property
    def times(self) -> int:
        """How often it warned."""
        return self._alarm.times

    @property
    def raised(self) -> bool:
        """Whether the agreement is too low now."""
        return self._alarm.raised

    def update(self, agreement: Agreement) -> None:
        """Look at the agreement after another frame."""
        if not agreement.settled:
            return
        if self._alarm.update((1 - agreement.recent) / (1 - self.limit)):
            tell(
                "labels differ from the reference",
                logging.WARNING,
                agree_percent=round(100 * agreement.recent, 2),
                limit_percent=round(100 * self.limit, 2),
                most_in=agreement.worst_class(),
                cause="frames unlike the report's, or an engine that computes wrongly: "
                "python export/verify.py tells",
            )


def agreement_limit(bundle: Bundle, session: Session) -> tuple[float | None, str]:
    """The least agreement with FP32 that raises no warning, None for any; and why, in a few words.

    From the row of the bundle's accuracy report for this precision and target.
    """
    rows = timed_rows(bundle.report(), session.target)
    ours = (row.get("agreement") for row in rows if row["precision"] == session.precision)
    found = [float(percent) for percent in ours if isinstance(percent, Real)]
    if not found:
        return None, (
            f"no warning, as the bundle has no accuracy report of {in_words(session)}: python "
            "calibration/report.py "
            f"--bundle {bundle.root} --data SPEC --split S"
        )
    limit = max(0.0, 1 - FACTOR * (1 - found[0] / 100) - FLOOR)
    return limit, (f"warns below {100 * limit:.2f} % ({found[0]:.2f} % in the accuracy report)")
