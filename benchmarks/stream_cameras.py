"""Several cameras in `benchmarks/stream.py`: one stream of all of them against a stream for each.

All are processes of `runtime/stream.py`, as users start them, on virtual cameras. They take turns
in laps; medians over the laps count. Pulled cameras tell what a frame costs, paced ones how old
frames are. What starting costs, the processes and the virtual cameras, is measured by laps of one
frame, and left out of rates and `core_ms`.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

SHORTEST = 1e-3  # seconds that a lap takes longer than one of a single frame
SCRIPT = Path(__file__).resolve().parents[1] / "runtime" / "stream.py"


@dataclass(frozen=True)
class Plan:
    """How many cameras, for how long; `flags` are those of every stream."""

    flags: tuple[str, ...]
    cameras: int
    frames: int  # of each camera and lap
    laps: int
    fps: float  # of a paced camera


@dataclass(frozen=True)
class Lap:
    """One lap of some processes; rate, drops and memory of all together, the oldest frames."""

    seconds: float  # from start to end
    core_seconds: float
    frames: int
    age_p50_ms: float  # of the camera where it is worst
    age_p99_ms: float
    dropped: int
    rss_mb: float


@dataclass(frozen=True)
class CamerasRow:
    """Medians of one contender."""

    name: str
    processes: int
    cameras: int
    paced_fps: float | None  # of each camera; None: pulled
    fps: float  # of all cameras
    core_ms: float  # a frame
    age_p50_ms: float  # of the camera where it is worst
    age_p99_ms: float
    dropped: int
    rss_mb: float


def run_cameras(plan: Plan) -> list[CamerasRow]:
    """All contenders in turns."""
    from tqdm import tqdm

    contenders = {
        (name, paced): _groups(plan, together, count, paced)
        for paced in (None, plan.fps)
        for name, together, count in (
            (f"{plan.cameras} cameras, one stream", True, plan.cameras),
            (f"{plan.cameras} cameras, a stream each", False, plan.cameras),
            ("1 camera", True, 1),
        )
    }
    laps: dict[tuple[str, float | None], list[Lap]] = {key: [] for key in contenders}
    starts = {
        key: run_lap(_groups(replace(plan, frames=1), len(groups) == 1, _count(groups), None),
                     plan.flags)
        for key, groups in contenders.items()
    }  # fmt: skip
    for _ in tqdm(range(plan.laps), "laps of cameras", disable=None):
        for key, groups in contenders.items():
            laps[key].append(run_lap(groups, plan.flags))
    return [_row(key, groups, laps[key], starts[key]) for key, groups in contenders.items()]


def run_lap(groups: Sequence[Sequence[str]], flags: Sequence[str]) -> Lap:
    """Start a stream for each group of cameras, all at once, and wait for them."""
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{number}.json" for number in range(len(groups))]
        before, begun = _children_seconds(), time.monotonic()
        running = [
            subprocess.Popen(_command(cameras, flags, file), stdout=subprocess.DEVNULL)
            for cameras, file in zip(groups, files, strict=True)
        ]
        codes = [process.wait() for process in running]
        if any(codes):
            raise RuntimeError(f"streams of {groups} ended with {codes}")
        seconds, busy = time.monotonic() - begun, _children_seconds() - before
        summaries = [json.loads(file.read_text()) for file in files]
    cameras = [camera for summary in summaries for camera in summary["cameras"]]
    frames = sum(summary["frames"] for summary in summaries)
    return Lap(
        seconds=seconds,
        core_seconds=busy,
        frames=frames,
        age_p50_ms=max(camera["frame_age"]["p50_ms"] for camera in cameras),
        age_p99_ms=max(camera["frame_age"]["p99_ms"] for camera in cameras),
        dropped=sum(summary["dropped"] for summary in summaries),
        rss_mb=sum(summary["peak_rss_mb"] for summary in summaries),
    )


def show_cameras(rows: Sequence[CamerasRow]) -> None:
    """Print a line for each contender."""
    if not rows:
        return
    print(
        f"{'cameras':28}{'paced':>8}{'FPS':>8}{'core-ms':>9}{'age':>7}{'p99':>7}{'dropped':>9}"
        f"{'MB':>7}"
    )
    for row in rows:
        paced = "pulled" if row.paced_fps is None else f"{row.paced_fps:g} FPS"
        print(
            f"{row.name:28}{paced:>8}{row.fps:8.1f}{row.core_ms:9.1f}{row.age_p50_ms:7.0f}"
            f"{row.age_p99_ms:7.0f}{row.dropped:9}{row.rss_mb:7.0f}"
        )


def _groups(plan: Plan, together: bool, count: int, paced: float | None) -> list[list[str]]:
    pace = "" if paced is None else f"&fps={paced:g}"
    cameras = [f"street:?seed={seed}&frames={plan.frames}{pace}" for seed in range(count)]
    return [cameras] if together else [[camera] for camera in cameras]


def _command(cameras: Sequence[str], flags: Sequence[str], file: Path) -> list[str]:
    named = [word for camera in cameras for word in ("--camera", camera)]
    return [sys.executable, str(SCRIPT), *named, "--headless", "--json", str(file), *flags]


def _count(groups: Sequence[Sequence[str]]) -> int:
    return sum(len(cameras) for cameras in groups)


def _children_seconds() -> float:
    """Processor time of all processes that were started here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _row(
    key: tuple[str, float | None],
    groups: Sequence[Sequence[str]],
    laps: Sequence[Lap],
    start: Lap,
) -> CamerasRow:
    def middle(value: str) -> Any:
        return median(getattr(lap, value) for lap in laps)

    more = max(1, middle("frames") - start.frames)

    return CamerasRow(
        name=key[0],
        processes=len(groups),
        cameras=_count(groups),
        paced_fps=key[1],
        fps=more / max(middle("seconds") - start.seconds, SHORTEST),
        core_ms=1e3 * (middle("core_seconds") - start.core_seconds) / more,
        age_p50_ms=middle("age_p50_ms"),
        age_p99_ms=middle("age_p99_ms"),
        dropped=round(middle("dropped")),
        rss_mb=middle("rss_mb"),
    )
