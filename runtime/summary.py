"""What a stream did, in numbers: the JSON of `stream.py`, and its table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.assembly import Assembly, Camera, names
from runtime.options import Options
from runtime.pipeline import Stream
from runtime.redaction import redact
from runtime.timings import Distribution

END_OF_SOURCE = "end of source"


@dataclass(frozen=True)
class CameraSummary:
    """What one of several cameras contributed; see `Summary`."""

    camera: str
    frames: int
    fps: float
    stages: dict[str, Distribution]
    frame_age: Distribution
    dropped: int
    damaged: int
    reconnects: int
    ended: str
    crf_iterations: dict[int, int]
    drift: dict[str, Any] | None
    compare: dict[str, Any] | None


@dataclass(frozen=True)
class Summary:
    """Numbers of a whole run; times in `stages` and `frame_age` become p50 and p99 in ms.

    `fps` counts from the first result to the last. `frame_age` is from capture to hand-over to the
    sinks. `dropped` frames of a live source were replaced by newer ones, `damaged` packets could
    not be decoded. `crf_iterations` counts frames by how many iterations the CRF had time for.
    `overhead_core_ms` is defined at `Stream.overhead_core_ms`, `sinks` at `Sinks.to_json`, `drift`
    at `Drift.to_json`; it is None without --drift, and with several cameras, each of which has its
    own. So it is with `compare`, `Agreement.to_json`; `shadow`, at `Shadow.to_json`, is the
    model's. `cameras` has one entry for each camera, in the order of the flags; the numbers beside
    it are of all together.
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
    cameras: tuple[CameraSummary, ...]
    bundle: Path
    precision: str
    target: str
    crf: str
    crf_iterations: dict[int, int]
    temporal: str
    record: Path | None
    labels: Path | None
    results: Path | None
    sinks: dict[str, dict[str, Any]]
    drift: dict[str, Any] | None
    compare: dict[str, Any] | None
    shadow: dict[str, Any] | None
    exit_code: int


def summarise(
    assembly: Assembly, options: Options, ended: str, sinks: dict[str, dict[str, Any]]
) -> Summary:
    """The summary of a stream that has been closed, for the thread that consumed it."""
    stream, session = assembly.stream, assembly.session
    cameras = tuple(_summarise_camera(camera, ended) for camera in assembly.cameras)
    iterations = sum((Counter(camera.crf_iterations) for camera in cameras), Counter[int]())
    return Summary(
        frames=stream.ages.count,
        fps=round(stream.fps, 2),
        stages=stream.timings.stages,
        overhead_core_ms=round(stream.overhead_core_ms(), 3),
        frame_age=stream.ages,
        dropped=stream.dropped,
        damaged=sum(camera.damaged for camera in cameras),
        reconnects=stream.reconnects,
        peak_rss_mb=peak_rss_mb(),
        ended=ended,
        camera=names(assembly.cameras),
        cameras=cameras,
        bundle=options.bundle,
        precision=session.precision,
        target=session.target,
        crf=assembly.chosen.crf,
        crf_iterations=dict(sorted(iterations.items())),
        temporal=options.temporal,
        record=options.record,
        labels=options.labels,
        results=options.results,
        sinks=sinks,
        drift=cameras[0].drift if len(cameras) == 1 else None,
        compare=cameras[0].compare if len(cameras) == 1 else None,
        shadow=None if assembly.shadow is None else assembly.shadow.to_json(),
        exit_code=exit_code(stream),
    )


def exit_code(stream: Stream) -> int:
    """0, or that of the first camera that failed while others went on."""
    return next((int(getattr(error, "exit_code", 1)) for error in stream.failures), 0)


def _summarise_camera(camera: Camera, ended: str) -> CameraSummary:
    lane = camera.lane
    if lane.error is not None:
        ended = f"failed: {redact(str(lane.error))}"
    elif lane.complete:
        ended = END_OF_SOURCE
    return CameraSummary(
        camera=camera.name,
        frames=lane.ages.count,
        fps=round(lane.fps, 2),
        stages=lane.timings.stages,
        frame_age=lane.ages,
        dropped=lane.dropped,
        damaged=lane.source.damaged,
        reconnects=lane.reconnects,
        ended=ended,
        crf_iterations=camera.refiners.iterations(),
        drift=None if camera.drift is None else camera.drift.to_json(),
        compare=None if camera.comparison is None else camera.comparison.agreement.to_json(),
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
    for line in (*agreement_lines(summary), *drift_lines(summary)):
        print(line)
    for name, row in summary.sinks.items():
        print(
            f"{name}: {row['written']} written, {row['dropped']} dropped, "
            f"{row['core_ms']:.1f} core-ms each"
        )
    if summary.record is not None and summary.frames:
        each = ", a file for each camera" if len(summary.cameras) > 1 else ""
        print(f"recorded {summary.record}{each}{_encoder(summary)}")
    if len(summary.cameras) > 1:
        _show_cameras(summary.cameras)


def _show_cameras(cameras: Sequence[CameraSummary]) -> None:
    """A line for each."""
    print(f"{'camera':>8}{'frames':>9}{'FPS':>8}{'age ms':>9}{'p99':>7}{'dropped':>9}{'lost':>6}")
    for number, camera in enumerate(cameras):
        ages = camera.frame_age
        print(
            f"{number:>8}{camera.frames:9}{camera.fps:8.1f}{ages.percentile_ms(50):9.0f}"
            f"{ages.percentile_ms(99):7.0f}{camera.dropped:9}{camera.reconnects:6}  "
            f"{camera.camera} ({camera.ended})"
        )


def drift_lines(summary: Summary) -> list[str]:
    """What was warned of, for people."""
    lines = []
    for number, camera in enumerate(summary.cameras):
        whose = f" of camera {number}" if len(summary.cameras) > 1 else ""
        for warning in [] if camera.drift is None else camera.drift["warnings"]:
            lines.append(f"drift{whose}: {warning['what']}, {warning['times']} time(s)")
    return lines


def _encoder(summary: Summary) -> str:
    encoder = summary.sinks["record"].get("encoder")
    if encoder is None:
        return ""
    return f" ({encoder['codec']}, {'hardware' if encoder['hardware'] else 'software'})"


def agreement_lines(summary: Summary) -> list[str]:
    """How far engines agreed, for people."""
    lines = []
    for found in (*(camera.compare for camera in summary.cameras), summary.shadow):
        if found is not None and found["agreement"] is not None:
            numbers, worst = found["agreement"], found["worst_frame"]
            lines.append(
                f"{found['a']} and {found['b']} agree in {numbers['mean']:.2f} % of the pixels, "
                f"p1 {numbers['p1']:.2f} %, least {numbers['min']:.2f} % in frame {worst['index']} "
                f"at {worst['time']:.2f} s; most differ in {found['worst_class'] or 'no class'}"
            )
    return lines
