"""What bulk labelling does with more workers, what bounds it, and what ten times the input costs.

Copies of a video are labelled by `runtime/label.py`, each worker with one thread, in rounds that
take turns. `fps` counts from when the first worker began; `memory_mb` is the most that all of its
processes held together (PSS, so that what they share counts once). `store_ms` is what one frame of
the video would cost through Ray's object store, which no frame goes through.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # this folder comes first on the path
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from engines.command import counts, parser, run_command
from engines.failures import Failure, UsageError
from engines.machine import describe_machine

LABEL = Path(__file__).resolve().parents[1] / "runtime/label.py"
PACKAGES = ("ray", "numpy", "onnxruntime", "av", "pillow")
TENFOLD = 10


@dataclass(frozen=True)
class Options:
    """Which video, how often, and by how many workers."""

    video: Path
    bundle: Path = Path("artifacts/camvid-mobilenetv2")
    precision: str = "int8"
    crf: str = "off"
    copies: int = 2
    workers: tuple[int, ...] = (1, 2)
    rounds: int = 3
    json: Path | None = None

    def __post_init__(self) -> None:
        if min(self.copies, self.rounds, *self.workers) < 1:
            raise UsageError("--copies, --workers and --rounds: 1 or more")


@dataclass(frozen=True)
class Row:
    """One setting; of several rounds, the medians."""

    name: str
    workers: int
    frames: int
    fps: float
    scaling: float  # times the fps of one worker
    start_seconds: float
    stages: dict[str, float]  # ms a frame of one worker
    bottleneck: str
    driver_rss_mb: float
    worker_rss_mb: float
    memory_mb: float


@dataclass(frozen=True)
class Comparison:
    """All rows, and the machine."""

    results: tuple[Row, ...]
    store_ms: float
    settings: str
    machine: dict[str, Any]


Run = dict[str, Any]  # the JSON of label.py, and memory_mb


def parse(argv: list[str] | None) -> Options:
    """Read the command line."""
    p = parser(__doc__, "python benchmarks/label.py --video dashcam.mp4 --json label.json")
    p.add_argument("--video", type=Path, required=True, metavar="FILE", help="to label")
    p.add_argument("--bundle", type=Path, default=Options.bundle, metavar="DIR", help="the model")
    p.add_argument("--precision", default=Options.precision, metavar="P", help="that runs")
    p.add_argument("--crf", default=Options.crf, metavar="MODE", help="off, fast or exact")
    p.add_argument(
        "--copies", type=int, default=Options.copies, metavar="N", help="of the video, as input"
    )
    p.add_argument(
        "--workers", type=counts, default=Options.workers, metavar="N,N", help="to be compared"
    )
    p.add_argument(
        "--rounds", type=int, default=Options.rounds, metavar="N", help="in turns; medians count"
    )
    return Options(**vars(p.parse_args(argv)))


def run(options: Options) -> Comparison:
    """All settings in turns, then the largest number of workers with ten times the input."""
    runs: dict[int, list[Run]] = {workers: [] for workers in options.workers}
    for _ in range(options.rounds):
        for workers, kept in runs.items():
            kept.append(label(options, workers, options.copies))
    one = statistics.median(run["fps"] for run in runs[options.workers[0]])
    rows = [row(f"{workers} workers", kept, one) for workers, kept in runs.items()]
    most = max(options.workers)
    rows.append(row(f"{TENFOLD}x", [label(options, most, TENFOLD * options.copies)], one))
    settings = f"{options.video.name} x{options.copies}, {options.precision}, crf {options.crf}"
    return Comparison(
        tuple(rows), round(store_ms(options.video), 3), settings, describe_machine(*PACKAGES)
    )


def label(options: Options, workers: int, copies: int) -> Run:
    """One run of the command."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "in").mkdir()
        for number in range(copies):
            shutil.copy(options.video, folder / "in" / f"{number:03}{options.video.suffix}")
        words = [sys.executable, str(LABEL), "--input", str(folder / "in")]
        words += ["--output", str(folder / "out"), "--bundle", str(options.bundle)]
        words += ["--precision", options.precision, "--crf", options.crf, "--threads", "1"]
        words += ["--workers", str(workers), "--json", str(folder / "out.json")]
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            memory = peak_memory_mb(process)
            told = process.communicate()[0].decode()
        if process.returncode:
            raise Failure(f"label.py failed: {told}")
        return {**json.loads((folder / "out.json").read_text()), "memory_mb": memory}


def peak_memory_mb(process: subprocess.Popen[bytes]) -> float:
    """The most that a process and all below it held, looked at twice a second until it ends."""
    peak = 0
    while process.poll() is None:
        peak = max(peak, sum(pss_kb(pid) for pid in family(process.pid)))
        time.sleep(0.5)
    return round(peak / 1024, 1)


def family(pid: int) -> list[int]:
    """A process and all that it started, directly or not."""
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found += map(int, task.read_text().split())
            except (FileNotFoundError, ProcessLookupError):  # it has just ended
                continue
    return found


def pss_kb(pid: int) -> int:
    """A process's memory, of shared pages its share; 0 if it has just ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def store_ms(video: Path) -> float:
    """Into the object store and out of it again, for a frame of the video, in ms."""
    import ray

    from runtime.labelling.cluster import connected
    from runtime.source import open_source

    frame = next(iter(open_source(str(video)))).image
    times = []
    with connected(None, 1, 1, on_gpu=False):
        for _ in range(50):
            start = time.perf_counter()
            ray.get(ray.put(frame)).sum()  # the sum reads what is mapped, not copied
            times.append(time.perf_counter() - start)
    start = time.perf_counter()
    for _ in range(50):
        frame.sum()
    reading = (time.perf_counter() - start) / 50
    return 1e3 * (statistics.median(times) - reading)


def row(name: str, runs: list[Run], one: float) -> Row:
    """Medians of some rounds; `one` is one worker's fps."""

    def median(key: str) -> float:
        return float(statistics.median(run[key] for run in runs))

    stages = {
        stage: round(statistics.median(run["stages"][stage] for run in runs), 2)
        for stage in runs[0]["stages"]
    }
    parts = {stage: ms for stage, ms in stages.items() if stage != "all"}
    return Row(
        name,
        runs[0]["workers"],
        runs[0]["frames"],
        round(median("fps"), 2),
        round(median("fps") / one, 2),
        round(median("start_seconds"), 1),
        stages,
        max(parts, key=lambda stage: parts[stage]),
        median("driver_rss_mb"),
        median("worker_rss_mb"),
        median("memory_mb"),
    )


def show(result: Comparison) -> None:
    """Print the table."""
    machine = result.machine
    print(f"{result.settings}; load {machine['load']} on {machine['cores']} cores")
    print(
        f"{'':10}{'frames':>8}{'fps':>8}{'scaling':>9}{'memory MB':>11}{'worker MB':>11}  bound by"
    )
    for row in result.results:
        print(
            f"{row.name:10}{row.frames:8}{row.fps:8.1f}{row.scaling:9.2f}{row.memory_mb:11.0f}"
            f"{row.worker_rss_mb:11.0f}  {row.bottleneck}"
        )
        print(f"{'':10}ms a frame: {', '.join(f'{k} {v:.1f}' for k, v in row.stages.items())}")
    print(f"a frame through the object store would be {result.store_ms:.2f} ms more")


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run_command(argv, parse, run, show)


if __name__ == "__main__":
    raise SystemExit(main())
