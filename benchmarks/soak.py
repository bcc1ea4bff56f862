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

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from engines.command import parser, run_command
from engines.failures import GateFailed, UsageError

if TYPE_CHECKING:
    from benchmarks.soak_camera import SoakCamera
    from benchmarks.soak_minutes import Minute
    from benchmarks.soak_program import Program
    from benchmarks.soak_verdict import Check, Freshness, Sample
    from benchmarks.soak_viewer import SoakViewer

PACKAGES = ("aiohttp", "av", "numpy", "onnxruntime", "pillow")


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
    from benchmarks.soak_watch import wait_until_live, watch
    from runtime.serving.attach import channel_names

    cameras = [SoakCamera(i, options.fps, options.connection) for i in range(options.cameras)]
    names = channel_names(options.cameras)
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
        samples = watch(program, viewers, names, round(60 * options.minutes), options.recording)
        for viewer in viewers:
            viewer.leave()
        program.stop()
        films = list(folder.glob("*.mp4"))
        playable = sum(map(plays, films))
    return conclude(options, samples, cameras, viewers, program, (len(films), playable))


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
    from benchmarks.soak_minutes import by_minute
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
