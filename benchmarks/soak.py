"""Endurance: the real program with cameras that hang up every few seconds, watched from outside.

`runtime/stream.py --serve` runs as a process with the bundle's INT8 model and `--cameras` network
cameras on loopback that show a street and end each connection after `--connection` seconds. A
viewer watches each of them, and the page's record button is pressed every `--recording` seconds.

Once a second the memory of the program and its reader processes, its open files and threads, and
`/metrics` are read. How old a picture on a viewer's screen is stands in the picture itself, as a
number that only the camera knows the time of. After `--warm-up` minutes, memory must grow by less
than 1 MB/min, files and threads not at all, and no picture older than two periods and its
processing may be on the screen while the program says that the camera is live. Exit code 3 if not.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":  # this folder comes first on the path and would hide the room `crf`
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import os
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from engines.command import parser, run_command
from engines.failures import Failure, GateFailed, UsageError

if TYPE_CHECKING:
    from benchmarks.soak_camera import SoakCamera
    from benchmarks.soak_program import Program
    from benchmarks.soak_verdict import Check, Freshness, Sample
    from benchmarks.soak_viewer import SoakViewer

PACKAGES = ("aiohttp", "av", "numpy", "onnxruntime", "pillow")
EVERY = 1.0  # s between two samples
ON_ITS_WAY = 0.2  # s in which a picture that the program has reaches the screen
FRESH_WITHIN = 60.0  # s until all cameras are live


@dataclass(frozen=True)
class Options:
    """How long, and how hard."""

    minutes: float = 30.0
    warm_up: float = 5.0  # minutes
    cameras: int = 2
    fps: float = 10.0  # of each
    connection: float = 10.0  # s
    recording: float = 30.0  # s on, then as long off
    bundle: Path = Path("artifacts/camvid-mobilenetv2")
    plot: Path | None = None
    json: Path | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.warm_up < self.minutes:
            raise UsageError("--warm-up must be shorter than --minutes, and not below 0")
        if self.cameras < 1 or min(self.fps, self.connection, self.recording) <= 0:
            raise UsageError("--cameras, --fps, --connection and --recording must be above 0")


@dataclass(frozen=True)
class Minute:
    """The samples of one minute: medians, and counts at its end."""

    minute: int
    memory_mb: float
    main_mb: float
    files: float
    threads: float
    live: float  # share of looks
    frames: int
    reconnects: int
    dropped: int
    load: float


@dataclass(frozen=True)
class Result:
    """The verdict, and what it stands on."""

    settings: str
    checks: list[Check]
    fresh: Freshness
    connections: int  # that the cameras gave
    reconnects: int
    dropped: int
    frames: int
    recordings: int
    playable: int
    cut_off: int  # times a viewer was
    exit_seconds: float  # after SIGTERM
    program_exit_code: int
    load: dict[str, float]
    minutes: list[Minute]
    machine: dict[str, str | int | float] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """3 if a limit was broken."""
        return 0 if all(check.passed for check in self.checks) else GateFailed.exit_code


def parse(argv: list[str] | None) -> Options:
    """Read the command line."""
    default = Options()
    p = parser(__doc__, "python benchmarks/soak.py --minutes 3 --warm-up 1 --plot soak.png")
    p.add_argument(
        "--minutes", type=float, default=default.minutes, metavar="X", help="of streaming"
    )
    p.add_argument(
        "--warm-up", type=float, default=default.warm_up, metavar="X", help="minutes before"
    )
    p.add_argument("--cameras", type=int, default=default.cameras, metavar="N", help="at a time")
    p.add_argument("--fps", type=float, default=default.fps, metavar="X", help="of each camera")
    p.add_argument(
        "--connection",
        type=float,
        default=default.connection,
        metavar="S",
        help="that each camera's connection lives",
    )
    p.add_argument(
        "--recording", type=float, default=default.recording, metavar="S",
        help="how long a recording is on, and then off",
    )  # fmt: skip
    p.add_argument("--bundle", type=Path, default=default.bundle, metavar="DIR", help="the model")
    p.add_argument("--plot", type=Path, metavar="FILE", help="also draw it, as PNG or SVG")
    return Options(**vars(p.parse_args(argv)))


def run(options: Options) -> Result:
    """Start everything, watch, stop it, and judge."""
    from benchmarks.soak_camera import SoakCamera
    from benchmarks.soak_program import running
    from benchmarks.soak_viewer import SoakViewer

    cameras = [SoakCamera(i, options.fps, options.connection) for i in range(options.cameras)]
    names = stream_names(options.cameras)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        addresses = [stack.enter_context(camera.listening()) for camera in cameras]
        program = stack.enter_context(
            running(addresses, options.bundle, folder, folder / "program.log")
        )
        viewers = [
            stack.enter_context(SoakViewer(program.port, name, camera))
            for name, camera in zip(names, cameras, strict=True)
        ]
        wait_until_live(program, names)
        samples = watch(options, program, viewers, names)
        for viewer in viewers:
            viewer.leave()
        program.stop()
        films = list(folder.glob("*.mp4"))
        playable = sum(map(plays, films))
    return conclude(options, samples, cameras, viewers, program, (len(films), playable))


def stream_names(cameras: int) -> list[str]:
    """What the program calls its cameras."""
    from runtime.serving.attach import channel_names

    return channel_names(cameras)


def wait_until_live(program: Program, names: Sequence[str]) -> None:
    """Until every camera is."""
    deadline = time.monotonic() + FRESH_WITHIN
    while not all(program.metrics().get(("deeplab_fresh", name)) for name in names):
        if time.monotonic() > deadline:
            raise Failure(f"the cameras were not live within {FRESH_WITHIN:g} s: is the load high?")
        time.sleep(0.2)


def watch(
    options: Options, program: Program, viewers: Sequence[SoakViewer], names: Sequence[str]
) -> list[Sample]:
    """A sample each second, and the record button now and then."""
    from tqdm import tqdm

    samples: list[Sample] = []
    recording = False
    began = time.monotonic()
    for second in tqdm(range(round(60 * options.minutes)), disable=None, unit="s"):
        time.sleep(max(0.0, began + EVERY * second - time.monotonic()))
        at = time.monotonic() - began
        if recording is not bool(int(at / options.recording) % 2):
            recording = not recording
            for name in names:
                program.record(name, recording)
        samples.append(take_sample(program, viewers, names, at, recording))
    return samples


def take_sample(
    program: Program,
    viewers: Sequence[SoakViewer],
    names: Sequence[str],
    at: float,
    recording: bool,
) -> Sample:
    """One moment: what the program says, and how old what it means by that was then."""
    from benchmarks.soak_verdict import PERIODS, Look, Sample

    asked = time.monotonic()
    said = program.metrics()
    holdings = program.holdings()
    time.sleep(ON_ITS_WAY)
    looks = []
    for viewer, name in zip(viewers, names, strict=True):
        shown = viewer.now
        age = float("inf") if shown is None else max(0.0, asked - shown.sent)
        limit = 0.0 if shown is None else PERIODS * shown.period + shown.processing
        counts = (
            int(said[f"deeplab_{what}_total", name])
            for what in ("frames", "reconnects", "dropped_frames")
        )
        looks.append(Look(bool(said["deeplab_fresh", name]), age, limit, *counts))
    return Sample(at, recording, holdings, tuple(looks), os.getloadavg()[0])


def plays(film: Path) -> bool:
    """Whether a recording decodes to its end."""
    import av

    try:
        with av.open(str(film)) as container:
            return sum(1 for _ in container.decode(video=0)) > 0
    except av.FFmpegError:
        return False


def conclude(
    options: Options,
    samples: Sequence[Sample],
    cameras: Sequence[SoakCamera],
    viewers: Sequence[SoakViewer],
    program: Program,
    films: tuple[int, int],
) -> Result:
    """Judge, and draw."""
    from benchmarks.soak_plot import draw
    from benchmarks.soak_verdict import Check, freshness, judge
    from engines.machine import describe_machine

    after = [sample for sample in samples if sample.at >= 60 * options.warm_up]
    lags = [lag for viewer in viewers for lag in viewer.lags]
    fresh = freshness(samples, lags)
    code = program.exit_code
    made, playable = films
    checks = [
        *judge(after, fresh),
        Check("recordings that do not play", made - playable, 0, made == playable),
        Check("exit code of the program", float(code or 0), 0, code == 0),
    ]
    if options.plot is not None:
        draw(samples, 60 * options.warm_up, options.plot)
    loads = sorted(sample.load for sample in samples)
    last = samples[-1].looks
    return Result(
        f"{options.cameras} x street {options.fps:g} fps, 480x360, int8, {options.minutes:g} min, "
        f"connections of {options.connection:g} s",
        checks,
        fresh,
        sum(camera.connections for camera in cameras),
        sum(look.reconnects for look in last),
        sum(look.dropped for look in last),
        sum(look.frames for look in last),
        made,
        playable,
        sum(viewer.cut_off for viewer in viewers),
        round(program.exit_seconds, 2),
        code or 0,
        {"min": loads[0], "median": loads[len(loads) // 2], "max": loads[-1]},
        by_minute(samples),
        describe_machine(*PACKAGES),
    )


def by_minute(samples: Sequence[Sample]) -> list[Minute]:
    """A row for each minute."""
    rows = []
    for minute in range(int(samples[-1].at // 60) + 1):
        part = [s for s in samples if s.at // 60 == minute]
        last = part[-1].looks
        shown = [look.live for s in part for look in s.looks]
        rows.append(
            Minute(
                minute,
                middle([s.memory_mb for s in part]),
                middle([s.holdings.main_mb for s in part]),
                middle([s.holdings.files for s in part]),
                middle([s.holdings.threads for s in part]),
                round(sum(shown) / len(shown), 3),
                sum(look.frames for look in last),
                sum(look.reconnects for look in last),
                sum(look.dropped for look in last),
                middle([s.load for s in part]),
            )
        )
    return rows


def middle(values: Sequence[float]) -> float:
    """The median, to a tenth."""
    return round(sorted(values)[len(values) // 2], 1)


def show(result: Result) -> None:
    """Print the checks, and the counts."""
    print(f"{result.settings}; load {result.load['min']:.1f} to {result.load['max']:.1f}")
    for check in result.checks:
        verdict = "ok" if check.passed else "BROKEN"
        print(f"{verdict:7}{check.name:32}{check.measured:8.2f}  limit {check.limit:g}")
    fresh = result.fresh
    print(
        f"{fresh.looks} looks at what was shown as live: oldest {fresh.oldest:.2f} s, "
        f"{fresh.older} older than 2 periods + processing, {fresh.noticed} of them above 0.5 s; "
        f"camera to screen {fresh.p50:.2f} s, p99 {fresh.p99:.2f} s"
    )
    print(
        f"{result.frames} frames, {result.dropped} dropped, {result.reconnects} reconnects, "
        f"{result.playable} of {result.recordings} recordings play, "
        f"ended {result.exit_seconds:.2f} s after SIGTERM"
    )


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run_command(argv, parse, run, show)


if __name__ == "__main__":
    raise SystemExit(main())
