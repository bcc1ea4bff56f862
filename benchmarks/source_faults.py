"""Every fault of a camera that benchmarks/sources.py injects, and what became of the camera."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass

from benchmarks import camera_faults
from benchmarks.process_holdings import held
from benchmarks.source_acts import Act, ends, endured, passes, reader_signalled, refuses
from benchmarks.source_servers import publisher_killed, rtsp_login, rtsp_struck


@dataclass(frozen=True)
class FaultRow:
    """What became of a camera; growth of this process in files, threads and MB."""

    name: str
    how: str
    times: int
    survived: int
    seconds: float  # each time, until frames came again or the reason was known
    said: str
    files: int
    threads: int
    megabytes: float

    def outcome(self) -> str:
        """For the table."""
        share = "" if self.survived == self.times else f"{self.survived} of {self.times}: "
        growth = f"files {self.files:+d}, threads {self.threads:+d}, {self.megabytes:+.1f} MB"
        return f"{share}{self.said}; {self.seconds:.2f} s each; {growth}"


@dataclass(frozen=True)
class Fault:
    """A fault and the act that injects it some times in a row into one camera."""

    name: str
    how: str
    act: Act
    slow: bool = False  # each time waits for a time-out
    needs_gstreamer: bool = False


def suffer(fault: Fault, times: int) -> FaultRow:
    """Inject a fault `times` times."""
    files, threads, memory = held()
    began = time.monotonic()
    survived, said = fault.act(times)
    seconds = (time.monotonic() - began) / times
    after = held()
    growth = (after[0] - files, after[1] - threads, (after[2] - memory) / 2**20)
    return FaultRow(fault.name, fault.how, times, survived, seconds, said, *growth)


FAULTS = [
    Fault("refuses", "HTTP: closed port", refuses),
    Fault("dies", "HTTP MJPEG: ends after 30 frames", passes(camera_faults.dies)),
    Fault("is reset", "HTTP MJPEG: TCP reset after 30 frames", passes(camera_faults.resets)),
    Fault("is no camera", "random bytes instead of HTTP", passes(camera_faults.no_http)),
    Fault("sends garbage", "random bytes as MJPEG", passes(camera_faults.garbage)),
    Fault("is busy", "HTTP 503", passes(camera_faults.failing)),
    Fault("has not this path", "HTTP 404", passes(camera_faults.missing)),
    Fault("redirects to a file", "Location: file:///", passes(camera_faults.redirects_to_a_file)),
    Fault("redirects for ever", "Location: itself", passes(camera_faults.redirects_for_ever)),
    Fault("sends a playlist", "M3U8 naming a local file", passes(camera_faults.playlist)),
    Fault("claims 65500x65500", "JPEG header", passes(camera_faults.giant)),
    Fault("says nothing", "accepts, then silence", passes(camera_faults.silent), slow=True),
    Fault("hangs", "half a frame, then silence", passes(camera_faults.hangs_in_a_frame), slow=True),
    Fault("has no end of headers", "1 kB lines", passes(camera_faults.endless_header), slow=True),
    Fault("has no end of a line", "one header", passes(camera_faults.endless_line), slow=True),
    Fault("drips", "10 bytes/s", passes(camera_faults.drips), slow=True),
    Fault("cuts pictures", "every 2nd JPEG half", endured(camera_faults.half_pictures), slow=True),
    Fault("mixes noise in", "every 3rd JPEG random", endured(camera_faults.garbage_between), True),
    Fault("changes size", "64x48, 96x80, 32x32", endured(camera_faults.changes_size), slow=True),
    Fault("lies of lengths", "parts of “2 GB”", endured(camera_faults.false_length), slow=True),
    Fault(
        "wants a password",
        "HTTP 401",
        ends(camera_faults.unauthorised, "it refuses the user or password", "admin:wrong@"),
        slow=True,
    ),
    Fault("decoder crashes", "reader: SIGSEGV", reader_signalled(signal.SIGSEGV)),
    Fault("driver hangs", "reader: SIGSTOP", reader_signalled(signal.SIGSTOP), slow=True),
    Fault("RTSP dies", "server: SIGKILL", rtsp_struck(signal.SIGKILL), True, True),
    Fault("RTSP hangs", "server: SIGSTOP", rtsp_struck(signal.SIGSTOP), True, True),
    Fault(
        "RTSP changes size",
        "server killed, comes back",
        rtsp_struck(signal.SIGKILL, ("64x48", "128x96")),
        True,
        True,
    ),
    Fault("RTSP password", "wrong, then right (digest)", rtsp_login, True, True),
    Fault("publisher dies", "ffmpeg, MPEG-TS: SIGKILL", publisher_killed, True, True),
]
