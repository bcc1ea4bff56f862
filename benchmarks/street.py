"""Drawing street frames with labels, against decoding the same frames from JPEG and PNG in memory.

Both run on one thread and take turns, frame by frame. The first frames of a street also draw what
they meet for the first time; `--warm-up` frames go by untimed.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":  # this folder comes first on the path and would hide the room `engines`
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import io
import statistics
import time
from dataclasses import dataclass

from engines.command import parser, run_command
from engines.failures import UsageError
from engines.machine import describe_machine


@dataclass(frozen=True)
class Options:
    """Which street, and for how long."""

    seed: int = 0
    frames: int = 600
    warm_up: int = 300
    json: Path | None = None

    def __post_init__(self) -> None:
        if self.frames < 1 or self.warm_up < 0:
            raise UsageError("--frames must be at least 1, --warm-up not negative")


@dataclass(frozen=True)
class Row:
    """Median milliseconds a frame; `agreement` is the share of equal labels."""

    name: str
    peer: str
    threads: int
    settings: dict[str, int | str]
    ours_ms: float
    peer_ms: float
    ratio: float
    agreement: float
    frames_per_second: float  # of ours over all timed frames, newly met things included


@dataclass(frozen=True)
class Result:
    """One row."""

    results: list[Row]
    machine: dict[str, str | int | float]


def parse(argv: list[str] | None) -> Options:
    """Read the command line."""
    p = parser(__doc__, "python benchmarks/street.py --frames 300 --json street.json")
    p.add_argument("--seed", type=int, default=Options.seed, metavar="N", help="which street")
    p.add_argument("--frames", type=int, default=Options.frames, metavar="N", help="frames to time")
    p.add_argument(
        "--warm-up", type=int, default=Options.warm_up, metavar="N", help="frames before those"
    )
    return Options(**vars(p.parse_args(argv)))


def run(options: Options) -> Result:
    """Draw and decode in turns."""
    import numpy as np
    from PIL import Image

    from scenes.street import StreetCamera

    camera = StreetCamera(seed=options.seed)
    drawn, decoded, same = [], [], []
    for index in range(options.warm_up + options.frames):
        begin = time.perf_counter()
        scene = camera.scene(index)
        middle = time.perf_counter()
        if index < options.warm_up:
            continue
        drawn.append(middle - begin)
        jpeg, png = io.BytesIO(), io.BytesIO()
        Image.fromarray(scene.frame).save(jpeg, "JPEG", quality=90)
        Image.fromarray(scene.labels).save(png, "PNG")
        begin = time.perf_counter()
        np.asarray(Image.open(jpeg))
        labels = np.asarray(Image.open(png))
        decoded.append(time.perf_counter() - begin)
        same.append(float((labels == scene.labels).mean()))
    ours, theirs = (statistics.median(times) * 1e3 for times in (drawn, decoded))
    settings: dict[str, int | str] = {"size": "480x360", "seed": options.seed}
    rate = len(drawn) / sum(drawn)
    row = Row("street", "pillow", 1, settings, ours, theirs, theirs / ours, min(same), rate)
    return Result([row], describe_machine("numpy", "pillow"))


def show(result: Result) -> None:
    """Print the row."""
    print(", ".join(f"{key} {value}" for key, value in result.machine.items()))
    for row in result.results:
        print(f"street: {row.ours_ms:.2f} ms a frame, {row.frames_per_second:.0f} frames/s")
        print(f"decoding the same frames: {row.peer_ms:.2f} ms ({row.ratio:.2f} of drawing)")


def main(argv: list[str] | None = None) -> int:
    """Command line entry point; returns the exit code."""
    return run_command(argv, parse, run, show)


if __name__ == "__main__":
    raise SystemExit(main())
