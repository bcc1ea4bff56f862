"""A reference beside the stream: every Nth frame runs on FP32, too, and the labels are compared.

It finds what a test before the start cannot: a graph that is wrong for these frames, a driver or a
processor that begins to compute wrongly. The plain labels of single frames are compared, before the
CRF and what earlier frames say, so that nothing but the engines can differ.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.bundle import Bundle
from engines.failures import UsageError
from engines.labels import upsample_argmax
from engines.manifest import CPU_TARGETS
from engines.session import Session, open_session
from engines.wrapped_session import WrappedSession
from runtime.agreement import Agreement
from runtime.agreement_alarm import AgreementAlarm, agreement_limit
from runtime.engine_name import in_words
from runtime.journal import tell
from runtime.slot import Ended, Slot

REFERENCE = ("fp32", "cpu")  # FP32 in onnxruntime: what every bundle has, on every machine
NICE = 19  # of the reference's thread: it takes what the stream leaves
JOIN = 0.5  # seconds that closing waits for a frame on the reference

Frame = NDArray[np.uint8]  # [H, W, 3], the model's input
Logits = NDArray[np.float32]  # [C, h, w]


class Shadow:
    """The reference in a thread of its own; `offer` from the thread that runs the stream's engine.

    Args:
        reference: It runs in one thread; it is this object's to close from now on.
        name: Of the stream's engine, for people.
        alarm: Hears of each frame.
    """

    def __init__(self, reference: Session, name: str, alarm: AgreementAlarm | None = None) -> None:
        engines = name, in_words(reference)
        self.agreement = Agreement(reference.spec.classes, engines)
        self.skipped = 0  # frames while the reference was busy, after it failed, or at the end
        self.failure: str | None = None  # what ended the comparison early
        self._reference, self._alarm = reference, alarm
        self._closed = False
        self._working = threading.Lock()  # from a frame that is taken until it is compared
        self._waiting: Slot[tuple[int, float, Frame, Logits]] = Slot()
        self._start = time.monotonic()
        self._thread = threading.Thread(target=self._work, name="shadow", daemon=True)
        self._thread.start()

    def offer(self, number: int, frame: Frame, logits: Logits) -> None:
        """Compare the stream's frame `number` unless an earlier one is not done; never waits."""
        if not self._working.acquire(blocking=False):
            self.skipped += 1
            return
        with suppress(Ended):  # closed, or failed: the stream goes on without it
            # Copies: a source and an engine may use their memory again.
            item = number, time.monotonic() - self._start, frame.copy(), logits.copy()
            self._waiting.put(item)

    @property
    def busy(self) -> bool:
        """Whether a frame that comes now is skipped."""
        return self._working.locked()

    def to_json(self) -> dict[str, Any]:
        """For the summary; `index` counts the stream's frames, `time` seconds since its start."""
        return {
            "frames": self.agreement.count,
            "skipped": self.skipped,
            "failure": self.failure,
            "warnings": 0 if self._alarm is None else self._alarm.times,
            **self.agreement.to_json(),
        }

    def close(self) -> None:
        """End the thread; a frame that waits or is on the reference counts as skipped."""
        self._closed = True
        self._waiting.close()
        self._reference.close()
        self._thread.join(JOIN)
        if self.busy and self.failure is None:
            self.skipped += 1

    def __enter__(self) -> Shadow:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _work(self) -> None:
        try:
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
            with suppress(Ended):
                while True:
                    self._compare(*self._waiting.take())
                    self._working.release()
        except Exception as error:  # whatever it is, it is the reference's: the stream goes on
            self._waiting.close()
            if not self._closed:
                self.failure = str(error) or repr(error)
                tell("shadow ended", logging.ERROR, reason=self.failure)

    def _compare(self, number: int, at: float, frame: Frame, logits: Logits) -> None:
        size = self._reference.spec.input_size
        expected = upsample_argmax(self._reference.run(frame[None])[0], size)
        self.agreement.add(upsample_argmax(logits, size), expected, number, at)
        if self._alarm is not None:
            self._alarm.update(self.agreement)


class ShadowedSession(WrappedSession):
    """Runs `session` and offers every Nth frame to a shadow.

    Args:
        session: It stays the caller's to close.
        offer: `Shadow.offer`.
        every: N; the first frame is offered, too.
    """

    def __init__(
        self, session: Session, offer: Callable[[int, Frame, Logits], None], every: int
    ) -> None:
        super().__init__(session)
        self._offer, self._every = offer, every
        self._frames = self._offers = 0

    def run(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Logits [N, C, h, w] of frames [N, H, W, 3]."""
        logits = self._session.run(frames)
        due = -self._frames % self._every  # frames until the next one
        if due < len(frames):
            # In turn: else it could be the same camera's frame of every batch.
            row = self._offers % len(frames)
            self._offers += 1
            self._offer(self._frames + row, frames[row], logits[row])
        self._frames += len(frames)
        return logits

    def close(self) -> None:
        """Nothing is this object's own."""


def meeting_all(every: int, cameras: int) -> int:
    """N, or a little more: cameras take turns, and every N-th frame must not always be of one."""
    while math.gcd(every, cameras) > 1:
        every += 1
    return every


def shadowed(
    stack: ExitStack, bundle: Bundle, session: Session, every: int
) -> tuple[Shadow, Session, str]:
    """A shadow beside a session, what is to run in its place, and a line that tells people.

    Both end with the stack. For a session of a GPU, or of the reference itself: `UsageError`.
    """
    if session.target not in CPU_TARGETS:
        raise UsageError(
            f"--shadow needs an engine of the CPU, not {session.target}: add --target cpu (a plan "
            f"is held to FP32 by python export/verify.py --bundle {bundle.root})"
        )
    if (session.precision, session.target) == REFERENCE:
        raise UsageError(
            "--shadow compares with fp32 on cpu, which is what runs already: choose another "
            "--precision, or leave it out"
        )
    limit, why = agreement_limit(bundle, session)
    alarm = None if limit is None else AgreementAlarm(limit)
    reference = open_session(bundle, *REFERENCE, threads=1)
    shadow = stack.enter_context(Shadow(reference, in_words(session), alarm))
    line = f"shadow one frame in {every} on {reference.description}: {why}"
    return shadow, ShadowedSession(session, shadow.offer, every), line
