"""What a stream did, in numbers: the JSON of `stream.py`, and its table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.assembly import Assembly
from runtime.options import Options
from runtime.redaction import redact
from runtime.timings import Distribution


@dataclass(frozen=True)
class Summary:
    """Numbers of a whole run; times in `stages` and `frame_age` become p50 and p99 in ms.

    `fps` counts from the first result to the last. `frame_age` is from capture to hand-over to the
    sinks. `dropped` frames of a live source were replaced by newer ones, `damaged` packets could
    not be decoded. `crf_iterations` counts frames by how many iterations the CRF had time for.
    `overhead_core_ms` is defined at `Stream.overhead_core_ms`, `drift` at `Drift.to_json`; it is
    None without --drift.
    """

    frames: int
    fps: float
    stages: dict[str, Distribution]
    overhead_core_ms: float
    frame_age: Distribution
    dropped: int
    damaged: int
    reconnects: int
    peak_rss_mb: float
    ended: str
    camera: str
    bundle: Path
    precision: str
    target: str
    crf: str
    crf_iterations: dict[int, int]
    temporal: str
    record: Path | None
    drift: dict[str, Any] | None


def summarise(
    assembly: Assembly, options: Options, ended: str, crf_iterations: dict[int, int]
) -> Summary:
    """The summary of a stream that has been closed, for the thread that consumed it."""
    stream, session, drift = assembly.stream, assembly.session, assembly.drift
    return Summary(
        frames=stream.ages.count,
        fps=round(stream.fps, 2),
        stages=stream.timings.stages,
        overhead_core_ms=round(stream.overhead_core_ms(), 3),
        frame_age=stream.ages,
        dropped=stream.dropped,
        damaged=stream.source.damaged,
        reconnects=stream.reconnects,
        peak_rss_mb=peak_rss_mb(),
        ended=ended,
        camera=redact(stream.source.name),
        bundle=options.bundle,
        precision=session.precision,
        target=session.target,
        crf=assembly.chosen.crf,
        crf_iterations=crf_iterations,
        temporal=options.temporal,
        record=options.record,
        drift=None if drift is None else drift.to_json(),
    )


def peak_rss_mb() -> float:
    """The most memory this process ever held, in MiB.

    From the kernel's own high-water mark: getrusage's would start at the parent's value.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    kib = next(line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return round(int(kib) / 1024, 1)


def show(summary: Summary) -> None:
    """Print the summary for people."""
    print(f"\n{summary.frames} frames at {summary.fps:.1f} FPS ({summary.ended})")
    print(f"{'':12}{'p50 ms':>9}{'p99 ms':>9}")
    rows = {**summary.stages, "frame age": summary.frame_age}
    for name, times in rows.items():
        print(f"{name:12}{times.percentile_ms(50):9.1f}{times.percentile_ms(99):9.1f}")
    print(
        f"dropped {summary.dropped}, damaged {summary.damaged}, reconnects {summary.reconnects}, "
        f"overhead {summary.overhead_core_ms:.1f} core-ms a frame, "
        f"peak memory {summary.peak_rss_mb:.0f} MB"
    )
    if len(summary.crf_iterations) > 1:
        counts = ", ".join(f"{n} on {frames}" for n, frames in summary.crf_iterations.items())
        print(f"CRF iterations within the budget: {counts} frames")
    for warning in [] if summary.drift is None else summary.drift["warnings"]:
        print(f"drift: {warning['what']}, {warning['times']} time(s)")
    if summary.record is not None and summary.frames:
        print(f"recorded {summary.record}")
