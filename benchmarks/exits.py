"""How long a stream takes to end: after SIGINT, SIGTERM, and an exception in each of its stages.

The stream of benchmarks/exit_cases.py, with the bundle's INT8 model: a network camera in its reader
process, a recording, a page with a viewer. It must end within two seconds, its recording must play,
its readers be gone and its port be free; exit code 3 if not. A picture that fails for the viewers
alone does not end it: there the time is that of a SIGTERM afterwards.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":  # this folder comes first on the path and would hide the room `crf`
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engines.command import parser, run_command
from engines.failures import GateFailed, UsageError

if TYPE_CHECKING:
    from benchmarks.exit_cases import Exit

LIMIT = 2.0  # s
PACKAGES = ("aiohttp", "av", "numpy", "onnxruntime")


@dataclass(frozen=True)
class Options:
    """How often."""

    times: int = 5
    bundle: Path = Path("artifacts/camvid-mobilenetv2")
    json: Path | None = None

    def __post_init__(self) -> None:
        if self.times < 1:
            raise UsageError(f"--times {self.times}: at least 1")


@dataclass(frozen=True)
class Row:
    """All exits of one cause; seconds. `core` tells what `median` would be on an idle machine."""

    cause: str
    times: int
    clean: int
    median: float
    longest: float
    core: float  # median of processor time
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Result:
    """All rows."""

    rows: list[Row]
    machine: dict[str, str | int | float]

    @property
    def exit_code(self) -> int:
        """3 if an exit was not clean, or took too long."""
        well = all(row.clean == row.times and row.longest < LIMIT for row in self.rows)
        return 0 if well else GateFailed.exit_code


def parse(argv: list[str] | None) -> Options:
    """Read the command line."""
    default = Options()
    p = parser(__doc__, "python benchmarks/exits.py --times 20 --json exits.json")
    p.add_argument("--times", type=int, default=default.times, metavar="N", help="of each cause")
    p.add_argument("--bundle", type=Path, default=default.bundle, metavar="DIR", help="the model")
    return Options(**vars(p.parse_args(argv)))


def run(options: Options) -> Result:
    """All causes in turns, so that a busy minute meets all of them."""
    from tqdm import tqdm

    from benchmarks.exit_cases import SIGNALS, STAGES, leave
    from engines.machine import describe_machine

    causes = [*SIGNALS, *STAGES]
    exits: dict[str, list[Exit]] = {cause: [] for cause in causes}
    for cause in tqdm(causes * options.times, disable=None, unit="exit"):
        with tempfile.TemporaryDirectory() as folder:
            exits[cause].append(leave(cause, options.bundle, Path(folder), "int8"))
    rows = [row_of(cause, exits[cause]) for cause in causes]
    return Result(rows, describe_machine(*PACKAGES))


def row_of(cause: str, exits: Sequence[Exit]) -> Row:
    """The row of a cause."""
    seconds = [one.seconds for one in exits]
    problems = tuple(
        f"code {one.exit_code}, {one.recorded} frames play, {one.readers_left} readers left, "
        f"port free: {one.port_free}; {one.said[-300:]}"
        for one in exits
        if not one.clean
    )
    clean = len(exits) - len(problems)
    core = statistics.median(one.core_seconds for one in exits)
    return Row(cause, len(exits), clean, statistics.median(seconds), max(seconds), core, problems)


def show(result: Result) -> None:
    """Print the table, as it stands in docs/sources.md."""
    print("| cause | times | clean | median | longest | core-s |\n|---|---|---|---|---|---|")
    for row in result.rows:
        times = f"{row.median:.2f} s | {row.longest:.2f} s | {row.core:.2f}"
        print(f"| {row.cause} | {row.times} | {row.clean} | {times} |")
    for row in result.rows:
        for problem in row.problems:
            print(f"{row.cause}: {problem}")
    print(", ".join(f"{key} {value}" for key, value in result.machine.items()))


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run_command(argv, parse, run, show)


if __name__ == "__main__":
    raise SystemExit(main())
