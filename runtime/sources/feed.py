"""What a reader process is asked to read."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

from engines.failures import SourceFailed

OPENING = 8.0  # s that FFmpeg gets to connect and find the video; the watchdog adds a second
READING = 4.0  # s that FFmpeg waits for the next packet


class Lost(SourceFailed):
    """The source is gone for the moment: trying again may help. (`SourceFailed`: it will not.)"""


@dataclass(frozen=True)
class Feed:
    """An address and how to read it; travels to the reader as JSON, never on a command line.

    Args:
        kind: A key of `runtime.sources.capture.OPENERS`.
        address: A device, URL or pipeline with all its secrets; `repr` leaves it out.
        options: Of its kind.
        live: Whether it goes on without us.
        drop: The policy for frames that nobody took yet, as `--drop` names it.
        opening: Seconds to connect.
        reading: Seconds to wait for a packet.
    """

    kind: str
    address: str = field(repr=False)
    options: dict[str, str] = field(default_factory=dict, repr=False)
    live: bool = True
    drop: str = "newest"
    opening: float = OPENING
    reading: float = READING

    def to_json(self) -> str:
        """For the reader."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> Feed:
        """The inverse of `to_json`."""
        return Feed(**json.loads(text))
