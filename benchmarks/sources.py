"""Sources under fault, and what reading them in a process of their own costs.

Each fault is injected into a camera of runtime.sources: servers on loopback that misbehave in the
ways of benchmarks/camera_faults.py, RTSP servers that are killed or frozen (GStreamer's; skipped
with the line to type where that is not installed), and readers that crash or hang as drivers do.
The camera must then either be live again, once the fault is over, or end with a reason.

`--times` repeats the faults that take no waiting; those that must wait for a time-out are repeated
`--patient` times; growth is of this process. Some of the cheap ones are also opened
`--openings` times without a reader, which shows whether FFmpeg or its binding leaks.

The cost of isolation is the CPU time of both processes per frame of a raw camera at 60 frames/s,
from FFmpeg's test source, against the same code in this process; medians of rounds that take turns.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":  # this folder comes first on the path and would hide the room `crf`
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from engines.command import parser, run_command
from engines.failures import UsageError

if TYPE_CHECKING:
    from benchmarks.source_cost import CostRow
    from benchmarks.source_faults import FaultRow
    from benchmarks.source_openings import OpeningRow

PACKAGES = ("av", "numpy")


@dataclass(frozen=True)
class Options:
    """How often."""

    times: int = 100
    patient: int = 5
    openings: int = 1000
    frames: int = 300
    rounds: int = 3
    only: str = ""
    json: Path | None = None

    def __post_init__(self) -> None:
        if min(self.times, self.patient, self.openings, self.frames, self.rounds) < 1:
            raise UsageError(
                "--times, --patient, --openings, --frames and --rounds must be at least 1"
            )


@dataclass(frozen=True)
class Result:
    """All rows, and what could not be done here."""

    faults: list[FaultRow]
    openings: list[OpeningRow]
    costs: list[CostRow]
    machine: dict[str, str | int | float]
    skipped: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """3 if a camera did not survive what it should."""
        return 0 if all(row.survived == row.times for row in self.faults) else 3


def parse(argv: list[str] | None) -> Options:
    """Read the command line."""
    default = Options()
    result = parser(__doc__, "python benchmarks/sources.py --times 1000 --json sources.json")
    result.add_argument(
        "--times", type=int, default=default.times, metavar="N", help="of cheap faults"
    )
    result.add_argument(
        "--patient", type=int, default=default.patient, metavar="N", help="of slow faults"
    )
    result.add_argument(
        "--openings", type=int, default=default.openings, metavar="N", help="in this process"
    )
    result.add_argument(
        "--frames", type=int, default=default.frames, metavar="N", help="of each cost round"
    )
    result.add_argument(
        "--rounds", type=int, default=default.rounds, metavar="N", help="of each cost"
    )
    result.add_argument(
        "--only", default=default.only, metavar="TEXT", help="faults whose name contains this"
    )
    return Options(**vars(result.parse_args(argv)))


def run(options: Options) -> Result:
    """All faults, then all costs."""
    from tqdm import tqdm

    from benchmarks.source_cost import costs
    from benchmarks.source_faults import FAULTS, suffer
    from benchmarks.source_openings import AT_ONCE, open_often
    from benchmarks.source_servers import missing_packages
    from engines.machine import describe_machine

    skipped = missing_packages()
    chosen = [fault for fault in FAULTS if options.only in fault.name]
    chosen = [fault for fault in chosen if not (fault.needs_gstreamer and skipped)]
    rows = [
        suffer(fault, options.patient if fault.slow else options.times)
        for fault in tqdm(chosen, disable=None, unit="fault")
    ]
    if options.only:
        return Result(rows, [], [], describe_machine(*PACKAGES), skipped)
    often = [open_often(fault, options.openings) for fault in AT_ONCE]
    measured = costs(options.frames, options.rounds)
    return Result(rows, often, measured, describe_machine(*PACKAGES), skipped)


def show(result: Result) -> None:
    """The two tables, as they stand in docs/sources.md."""
    print("| fault | injected how | times | outcome |\n|---|---|---|---|")
    for row in result.faults:
        print(f"| {row.name} | {row.how} | {row.times} | {row.outcome()} |")
    for line in result.skipped:
        print(f"skipped: {line}")
    if result.openings:
        print(
            "\n| opened again and again | times | files | threads | memory |\n|---|---|---|---|---|"
        )
    for often in result.openings:
        print(
            f"| {often.name} | {often.times} | {often.files:+d} | {often.threads:+d} | "
            f"{often.megabytes:+.2f} MB |"
        )
    if result.costs:
        print("\n| frame | in process | isolated | age at hand-over |\n|---|---|---|---|")
    for cost in result.costs:
        print(
            f"| {cost.size} | {cost.inside_core_ms:.2f} core-ms | "
            f"{cost.isolated_core_ms:.2f} core-ms | "
            f"{cost.inside_ms:.2f} ms, isolated {cost.isolated_ms:.2f} ms |"
        )
    print(", ".join(f"{key} {value}" for key, value in result.machine.items()))


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run_command(argv, parse, run, show)


if __name__ == "__main__":
    raise SystemExit(main())
