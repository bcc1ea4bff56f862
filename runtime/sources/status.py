"""Where a source stands: the states between the first try and the last frame."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class State(str, Enum):
    """What a source is doing.

    starting ──▶ live ◀──▶ stalled
       ▲          │ ▲         │
       │          ▼ └─────┐   ▼
     (open)     ended    reconnecting ──▶ failed
    """

    STARTING = "starting"  # no frame yet, since the beginning
    LIVE = "live"  # frames come
    STALLED = "stalled"  # it is connected, but the next frame is overdue
    RECONNECTING = "reconnecting"  # lost; the next try is running or waits for its time
    ENDED = "ended"  # no more frames, as intended: a file's last one, or closed
    FAILED = "failed"  # no more frames, and none will be tried for


@dataclass(frozen=True)
class Status:
    """One moment of a source; safe to print."""

    state: State
    detail: str = ""  # why it is not live, or what it delivers
    since: float = 0.0  # monotonic time of the last change of state
    reconnects: int = 0  # times it was lost and found again
    dropped: int = 0  # frames that a newer one replaced before they came out of the source


ALWAYS_LIVE = Status(State.LIVE)  # of sources that cannot be lost: files, the virtual camera
