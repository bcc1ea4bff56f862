"""Everything that only a machine with an NVIDIA GPU can show, by one command of at most 10 minutes.

Tests on the GPU, TensorRT plans in all precisions, their verification, the accuracy report, CRF,
engines and stream against PyTorch in FP16. Each part ends as ok, failed, or not possible here with
the reason; what is done is remembered, so that the same command goes on after an interruption. The
results become docs/benchmarks/<gpu>.md and .json. docs/gpu_checks.md tells more.

Exit code 3 if a part failed, 4 at once if there is no GPU; --rehearse then runs every part as far
as it goes without one, and says which never ran.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":  # this folder comes first on the path and would hide the room `engines`
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import platform
import shutil
import time
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from engines.command import parser, run_command
from engines.failures import DeviceMissing, GateFailed, UsageError, hint

if TYPE_CHECKING:
    from benchmarks.gpu_parts import Part
    from benchmarks.gpu_place import Place
    from benchmarks.gpu_run import Outcome, State
    from engines.gpu_facts import GpuFacts


@dataclass(frozen=True)
class Options:
    """Which parts, with what, for how long."""

    part: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    again: bool = False
    rehearse: bool = False
    minutes: float = 10.0
    wheels: Path | None = None
    bundle: Path | None = None
    out: Path = Path("artifacts/gpu")
    docs: Path = Path("docs/benchmarks")
    list_wheels: bool = False
    has: Path | None = None
    python_version: str = ".".join(platform.python_version_tuple()[:2])
    json: Path | None = None

    def __post_init__(self) -> None:
        if not self.minutes > 0:
            raise UsageError(f"--minutes {self.minutes:g}: more than 0")
        if self.wheels is not None and not self.wheels.is_dir():
            raise UsageError(
                f"--wheels {self.wheels} is no folder: --list-wheels prints what to do"
            )


@dataclass(frozen=True)
class Result:
    """How every part ended; `page` is where the results went."""

    gpu: GpuFacts | None
    parts: list[Outcome]
    never_ran: list[str]
    page: Path | None = None
    lines: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """3 if a part failed."""
        failed = any(part.status == "failed" for part in self.parts)
        return GateFailed.exit_code if failed else 0


def parse(argv: list[str] | None) -> Options:
    """Read the command line."""
    default = Options()
    p = parser(__doc__, "python benchmarks/gpu.py --wheels wheels --skip report")
    for flag, what in {"--part": "only this part", "--skip": "not this part"}.items():
        p.add_argument(
            flag, action="append", default=[], metavar="NAME", help=f"{what}; may be repeated"
        )
    p.add_argument("--again", action="store_true", help="run parts that went well once more")
    p.add_argument("--rehearse", action="store_true", help="what goes without a GPU")
    p.add_argument(
        "--minutes",
        metavar="X",
        type=float,
        default=default.minutes,
        help="in all; more give each part more, too",
    )
    p.add_argument("--wheels", type=Path, metavar="DIR", help="take packages from here, no network")
    p.add_argument("--bundle", type=Path, metavar="DIR", help="use this one, and build none")
    p.add_argument("--out", type=Path, default=default.out, metavar="DIR", help="logs and state")
    p.add_argument("--docs", type=Path, default=default.docs, metavar="DIR", help="results")
    p.add_argument(
        "--list-wheels", action="store_true",
        help="print the pip lines that fill DIR with what this machine lacks, and end",
    )  # fmt: skip
    p.add_argument("--has", type=Path, metavar="FILE", help="the `pip list` of another machine")
    p.add_argument("--python-version", default=default.python_version, metavar="X.Y", help="of it")
    values = vars(p.parse_args(argv))
    return Options(**{**values, "part": tuple(values["part"]), "skip": tuple(values["skip"])})


def run(options: Options) -> Result:
    """Run the parts that are to be run."""
    from benchmarks.gpu_page import write_page
    from benchmarks.gpu_place import download_lines
    from benchmarks.gpu_run import State
    from engines.gpu_facts import probe_gpu

    gpu = probe_gpu()
    if options.list_wheels:
        lines = download_lines(options.has, options.python_version, platform.machine())
        return Result(gpu, [], [], lines=tuple(lines))
    parts = chosen(options)
    if gpu is None and not options.rehearse:
        raise DeviceMissing(
            "no NVIDIA GPU can be used here (python -m engines.doctor says why); --rehearse runs "
            "what goes without one"
        )
    place = place_of(options, None if options.rehearse else gpu)
    state = State(place.out / "state.json")
    run_all(parts, place, state, options)
    found = [state.outcomes[part.name] for part in parts if part.name in state.outcomes]
    never = [told for part in parts if (told := never_ran(part, state.outcomes, options.rehearse))]
    if options.rehearse:
        return Result(None, found, never)
    page = write_page(place, list(state.outcomes.values()), options.docs)
    return Result(place.gpu, found, never, page)


def run_all(parts: list[Part], place: Place, state: State, options: Options) -> None:
    """Run what is left to run, and say so as it goes."""
    from benchmarks.gpu_run import run_part, source_revision

    revision, end = source_revision(), time.monotonic() + 60 * options.minutes
    for number, part in enumerate(parts, start=1):
        print(f"[{number}/{len(parts)}] {part.name:16}{part.what}", flush=True)
        if done(state.outcomes.get(part.name)) and not (options.again or options.part):
            print("        ok before", flush=True)
            continue
        seconds = end - time.monotonic()
        if seconds <= 0:
            print("        not run: the time is up, the same command goes on here", flush=True)
            continue
        patient = replace(part, seconds=part.seconds * max(1.0, options.minutes / Options.minutes))
        outcome = run_part(patient, place, seconds, options.rehearse, revision)
        state.add(outcome)
        told = f"{outcome.status}, {outcome.seconds:.0f} s"
        print(f"        {told}{': ' if outcome.reason else ''}{outcome.reason}", flush=True)
        for line in outcome.tail:
            print(f"        | {line}", flush=True)


def chosen(options: Options) -> list[Part]:
    """The parts of this call, in their order."""
    from benchmarks.gpu_parts import PARTS

    known = [part.name for part in PARTS]
    for name in (*options.part, *options.skip):
        if name not in known:
            raise UsageError(f"unknown part {name!r}: {hint(name, known)}")
    wanted = [p for p in PARTS if p.name in options.part or not (options.part or p.asked)]
    return [part for part in wanted if part.name not in options.skip]


def place_of(options: Options, gpu: GpuFacts | None) -> Place:
    """Each GPU has a folder of its own, so that results never mix."""
    from benchmarks.gpu_page import slug
    from benchmarks.gpu_place import Place

    out = (options.out / (slug(gpu.name) if gpu else "rehearsal")).absolute()
    if options.again and not options.part:
        shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True, exist_ok=True)
    absolute = [
        None if path is None else path.absolute() for path in (options.wheels, options.bundle)
    ]
    return Place(out, gpu, *absolute)


def done(outcome: Outcome | None) -> bool:
    """Whether a part need not run once more; what was not possible may be now."""
    return outcome is not None and outcome.status == "ok"


def never_ran(part: Part, outcomes: dict[str, Outcome], rehearse: bool) -> str:
    """What of a part nobody has seen run here, "" if nothing."""
    outcome = outcomes.get(part.name)
    if not done(outcome):
        return f"{part.name} ({outcome.status if outcome else 'not reached'})"
    return f"{part.name} ({part.left})" if rehearse and part.left else ""


def show(result: Result) -> None:
    """What there is to type, or how it went."""
    for line in result.lines:
        print(line)
    if not result.parts:
        return
    counts = Counter(part.status for part in result.parts)
    print(", ".join(f"{count} {status}" for status, count in counts.items()))
    if result.never_ran:
        print(f"never ran here: {', '.join(result.never_ran)}")
    if result.page:
        print(f"results: {result.page}")


def main(argv: list[str] | None = None) -> int:
    """Command line entry point; returns the exit code."""
    return run_command(argv, parse, run, show)


if __name__ == "__main__":
    raise SystemExit(main())
