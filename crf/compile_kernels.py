"""Compile all CUDA kernels with nvcc for every supported GPU; print registers and spills of each.

The kernels of engines are among them: that room imports no other. No GPU is needed. Spills
(registers that did not fit and go through memory) are an error.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from crf import cuda_temporal
from engines import gpu_pixels
from engines.command import parser, run_command
from engines.failures import GateFailed
from engines.kernels import KernelSource, find_nvcc, run_nvcc

ROOM = Path(__file__).parent
CLASSES = (1, 21, 150)  # the normalisation, VOC, ADE20K: 1, 8 and 32 lanes a row
ENTRY = "Compiling entry function "  # begins ptxas's report on a kernel
NUMBERS = {  # what it says further on
    "registers": r"Used (\d+) registers",
    "shared": r"(\d+) bytes smem",
    "stack": r"(\d+) bytes stack frame",
    "stores": r"(\d+) bytes spill stores",
    "loads": r"(\d+) bytes spill loads",
}


@dataclass(frozen=True)
class Options:
    """What to compile for: Turing, Ampere, Orin, Ada, Hopper, Thor, Blackwell."""

    architectures: tuple[str, ...] = ("75", "86", "87", "89", "90", "110", "120")
    json: Path | None = None


@dataclass(frozen=True)
class Row:
    """What ptxas says of one kernel; sizes in bytes."""

    source: str
    classes: int | None
    architecture: str
    kernel: str
    registers: int
    shared: int
    stack: int
    spilled: int


@dataclass(frozen=True)
class Result:
    """All kernels; `skipped` says what was not compiled, and why."""

    rows: list[Row]
    skipped: str | None


def parse(argv: list[str] | None) -> Options:
    """Read the command line."""
    default = Options()
    p = parser(__doc__, "python -m crf.compile_kernels --architectures 87,90")
    p.add_argument(
        "--architectures", type=comma, default=default.architectures, metavar="N,N",
        help="compute capabilities, without the point",
    )  # fmt: skip
    return Options(**vars(p.parse_args(argv)))


def comma(text: str) -> tuple[str, ...]:
    """Architectures: "75,86"."""
    if not re.fullmatch(r"\d{2,3}(,\d{2,3})*", text):
        raise argparse.ArgumentTypeError(f"expected N,N such as 75,86, got {text!r}")
    return tuple(text.split(","))


def run(options: Options) -> Result:
    """Compile all; a source that does not compile, or spills, is a failed gate."""
    command = find_nvcc()
    if command is None:
        return Result([], "no nvcc on PATH or in /usr/local/cuda: no CUDA kernel was compiled")
    known = subprocess.run(
        [command, "--list-gpu-code"], capture_output=True, text=True, check=True
    ).stdout.split()
    too_new = [name for name in options.architectures if f"sm_{name}" not in known]
    jobs = product(sources(), [name for name in options.architectures if name not in too_new])
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        reports = pool.map(lambda job: compile_one(command, *job), jobs)
        rows = [row for report in reports for row in report]
    spilling = [f"{row.kernel} (sm_{row.architecture})" for row in rows if row.spilled]
    if spilling:
        raise GateFailed(f"kernels spill registers: {', '.join(spilling)}; give them less to hold")
    skipped = f"{command} does not know sm_{', sm_'.join(too_new)}" if too_new else None
    return Result(rows, skipped)


def sources(classes: tuple[int, ...] = CLASSES) -> list[KernelSource]:
    """Every .cu of engines and of this room as a device compiles it, for some class counts."""
    return [
        gpu_pixels.source(),
        KernelSource.read(ROOM / "lattice.cu", contract=False),
        KernelSource.read(ROOM / "rows.cu"),
        cuda_temporal.source(),
        *(KernelSource.read(ROOM / "mean_field.cu", CLASSES=n) for n in classes),
    ]


def compile_one(command: str, source: KernelSource, architecture: str) -> list[Row]:
    """The kernels of one source for one architecture."""
    try:
        log = run_nvcc(command, source, f"sm_{architecture}")[1]
    except RuntimeError as error:
        raise GateFailed(str(error)) from error
    classes = dict(source.defines).get("CLASSES")
    return [row(source.name, classes, architecture, part) for part in log.split(ENTRY)[1:]]


def row(source: str, classes: int | None, architecture: str, report: str) -> Row:
    """One kernel of ptxas's log: "'name' for 'sm_87' ... Used 32 registers ..."."""
    found = {name: re.search(pattern, report) for name, pattern in NUMBERS.items()}
    number = {name: int(match[1]) if match else 0 for name, match in found.items()}
    spilled = number.pop("stores") + number.pop("loads")
    kernel = report.split("'")[1]
    return Row(source, classes, architecture, kernel, **number, spilled=spilled)


def show(result: Result) -> None:
    """A line per kernel and class count, a column per architecture."""
    if result.skipped:
        print(f"skipped: {result.skipped}")
    if not result.rows:
        return
    architectures = list(dict.fromkeys(row.architecture for row in result.rows))
    table: dict[tuple[str, str], list[Row]] = {}
    for row in result.rows:
        classes = f"{row.classes} classes" if row.classes else ""
        table.setdefault((row.kernel, classes), []).append(row)
    print("registers per thread; none spill")
    print(" " * 32, *(f"sm_{name:4}" for name in architectures))
    for (kernel, classes), rows in table.items():
        print(f"{kernel:18}{classes:>12}   ", *(f"{row.registers:7}" for row in rows))


def main(argv: list[str] | None = None) -> int:
    """Exit code 3 if a kernel does not compile or spills."""
    return run_command(argv, parse, run, show)


if __name__ == "__main__":
    raise SystemExit(main())
