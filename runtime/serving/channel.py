"""One camera as its viewers see it: the newest result, and a JPEG of it while somebody watches."""

from __future__ import annotations

import io
import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from PIL import Image as Pictures

from engines.blend import blend
from engines.session import Session
from runtime.agreement import Agreement
from runtime.drop_policy import NEWEST
from runtime.journal import tell
from runtime.lane import Lane, Result
from runtime.redaction import redact
from runtime.serving.recordings import Recordings
from runtime.slot import Ended, Slot
from runtime.source import Image
from runtime.switches import Switches
from runtime.timings import Rate

# Measured on a street frame of 480x360: 19 kB, 0.55 core-ms; 85 is 20 % larger and looks the same.
QUALITY = 80
STALE = 0.5  # seconds below which nobody notices, and a hiccup would make the banner flicker
SLOWEST = 10.0  # seconds between two frames of anything that may still be called live
JOIN = 0.5  # seconds that closing waits for a picture being made


@dataclass(frozen=True)
class Picture:
    """A frame under its mask, ready to be sent."""

    jpeg: bytes
    index: int  # of the frame
    captured: float  # time.monotonic()


class Channel:
    """One named camera. `publish` from the consumer's thread; everything else from any.

    Args:
        name: What addresses and metrics call it: letters, digits and dashes.
        lane: The camera in its stream; its timings and counts are read.
        session: Says which model runs.
        switches: What viewers may change.
        recordings: Where they may record to.
        agreement: How far its engine agrees with another one.
        drawn: Viewers see the picture that the stream draws, not the frame under its mask.
    """

    def __init__(
        self,
        name: str,
        lane: Lane,
        session: Session,
        switches: Switches,
        recordings: Recordings | None = None,
        agreement: Agreement | None = None,
        drawn: bool = False,
    ) -> None:
        self.name = name
        self.title = _title(lane.source.name)
        self.lane = lane
        self.session = session
        self.switches = switches
        self.recordings = recordings
        self.agreement = agreement
        self.latest: Result | None = None
        self.fps = 0.0  # over the last 30 frames
        self.viewers = 0
        self.listener: Callable[[Picture], None] = lambda picture: None
        self._drawn = drawn
        self._rate = Rate()
        self._told = "starting"
        self._counting = threading.Lock()
        self._results: Slot[Result] = Slot(NEWEST)
        self._thread = threading.Thread(target=self._work, name=f"channel {name}", daemon=True)
        self._thread.start()

    def publish(self, result: Result) -> None:
        """Take the next result; costs microseconds however many watch."""
        self.fps = self._rate.tick(time.monotonic())
        self.latest = result
        self._show(result)

    def join(self) -> bool:
        """Count a viewer in; whether it is the first, for whom the latest picture is made anew."""
        with self._counting:
            self.viewers += 1
            first = self.viewers == 1
        if first:
            self.refresh()
        return first

    def leave(self) -> None:
        """Count a viewer out."""
        with self._counting:
            self.viewers -= 1

    def refresh(self) -> None:
        """Make the latest picture again, as after a change of its opacity during a pause."""
        if self.latest is not None:
            self._show(self.latest)

    @property
    def condition(self) -> str:
        """starting, live, stale, paused or ended."""
        if self.lane.over:
            return "ended"
        if self.lane.paused:
            return "paused"
        if self.latest is None:
            return "starting"
        return "live" if self.age() <= self._limit() else "stale"

    def note_condition(self) -> None:
        """Tell the log if the condition is another one than the last time; for one thread."""
        condition = self.condition
        if condition != self._told:
            self._told = condition
            level = logging.WARNING if condition == "stale" else logging.INFO
            detail = self.lane.source.status.detail
            age = round(self.age(), 1)
            tell(f"stream is {condition}", level, stream=self.name, age_s=age, detail=detail)

    def age(self) -> float:
        """Seconds since the newest frame was captured; 0 before the first."""
        return 0.0 if self.latest is None else time.monotonic() - self.latest.frame.captured

    def well(self) -> bool | None:
        """For a watchdog: whether the stream does what it was told; None before its first frame."""
        return None if self.latest is None else self.condition in ("live", "paused")

    def picture(self, result: Result) -> Image:
        """The frame under its mask [H, W, 3], without any text; or what the stream has drawn."""
        if self._drawn and result.picture is not None:
            return result.picture
        spec = self.session.spec
        return blend(result.frame.image, result.labels, spec.palette, self.switches.now.alpha)

    def close(self) -> None:
        """End the channel's thread; a recording is finished."""
        self._results.close()
        self._thread.join(JOIN)
        if self.recordings is not None:
            self.recordings.stop()

    def __enter__(self) -> Channel:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _limit(self) -> float:
        """Seconds from which a frame counts as stale: its processing and two periods."""
        processing = 0.0 if self.latest is None else self.latest.age
        rate = self.fps or self.lane.source.fps
        return max(STALE, processing + 2 * min(1 / rate, SLOWEST))

    def _show(self, result: Result) -> None:
        if self.viewers or (self.recordings is not None and self.recordings.running):
            with suppress(Ended):
                self._results.put(result)

    def _work(self) -> None:
        with suppress(Ended):
            while True:
                result = self._results.take()
                try:
                    self._make(result)
                except Exception as error:  # a viewer's picture may fail, the stream goes on
                    tell("picture failed", logging.ERROR, stream=self.name, error=repr(error))

    def _make(self, result: Result) -> None:
        with self.lane.timings.measure("page"):
            picture = self.picture(result)
            if self.viewers:
                frame = result.frame
                self.listener(Picture(jpeg(picture), frame.index, frame.captured))
        if self.recordings is not None and self.recordings.running:
            with self.lane.timings.measure("record"):
                self.recordings.write(picture, result.frame.time)


def jpeg(picture: Image) -> bytes:
    """A picture [H, W, 3] as JPEG, colours at half resolution."""
    data = io.BytesIO()
    Pictures.fromarray(picture).save(data, "JPEG", quality=QUALITY, subsampling="4:2:0")
    return data.getvalue()


def _title(source: str) -> str:
    """A source's name for viewers: no credentials, and of a file no folder."""
    return Path(source).name if source.startswith(("/", "./", "../")) else redact(source)
