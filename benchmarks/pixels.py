"""Each pixel kernel on the GPU beside the loop that does the same on the CPU: ms a frame.

A frame goes from camera image to labels and picture, one row for each step and each copy. The CPU's
side is what the stream runs without a GPU: FFmpeg for colours and resizing, C++ for labels and
blending, NumPy for the evidence of earlier frames; it has nothing to copy. The sides take turns;
times are medians over rounds. A kernel's is the GPU's own, by events around calls that are queued
without a pause between them; copies are timed on the clock, each waited for. `agreement` is the
share of equal bytes.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":  # this folder comes first on the path and would hide the room `engines`
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from engines.command import height_width, parser, run_command
from engines.failures import UsageError

if TYPE_CHECKING:
    from benchmarks.pixel_steps import Step
    from engines.device import Device

QUEUED = 10  # calls between two events: a launch takes about as long as a small kernel


@dataclass(frozen=True)
class Options:
    """Sizes are height x width."""

    sizes: tuple[tuple[int, int], ...] = ((480, 640), (720, 1280), (1080, 1920))
    model: tuple[int, int] = (360, 480)
    classes: int = 11
    rounds: int = 30
    json: Path | None = None

    def __post_init__(self) -> None:
        if not (self.rounds >= 1 and 1 <= self.classes <= 254):
            raise UsageError("--rounds is at least 1, --classes from 1 to 254")


@dataclass(frozen=True)
class Row:
    """One step at one size of frames."""

    name: str
    peer: str
    settings: str
    ours_ms: float
    peer_ms: float | None
    ratio: float | None
    agreement: float


@dataclass(frozen=True)
class Result:
    """All rows; `device` is the GPU and how it was reached."""

    results: list[Row]
    device: str
    machine: dict[str, str | int | float]


def parse(argv: list[str] | None) -> Options:
    """Read the command line."""
    default = Options()
    p = parser(__doc__, "python benchmarks/pixels.py --sizes 720x1280 --json pixels.json")
    p.add_argument(
        "--sizes", type=sizes, default=default.sizes, metavar="HxW,..",
        help="of the camera (default: 480x640,720x1280,1080x1920)",
    )  # fmt: skip
    p.add_argument(
        "--model",
        type=height_width,
        default=default.model,
        metavar="HxW",
        help="input of the model",
    )
    p.add_argument("--classes", type=int, default=default.classes, metavar="N", help="of the model")
    p.add_argument("--rounds", type=int, default=default.rounds, metavar="N", help="of each step")
    return Options(**vars(p.parse_args(argv)))


def sizes(text: str) -> tuple[tuple[int, int], ...]:
    """Sizes: "480x640,720x1280"."""
    return tuple(height_width(part) for part in text.split(","))


def run(options: Options) -> Result:
    """Time all steps at all sizes; without a GPU, `DeviceMissing`."""
    from engines.device import open_device
    from engines.machine import describe_machine

    device = open_device()
    try:
        rows = measure(device, options)
        return Result(rows, device.description, describe_machine("av", "numpy", "cuda-core"))
    finally:
        device.close()


def measure(device: Device, options: Options) -> list[Row]:
    """The rows of all sizes on an open device."""
    from benchmarks.pixel_steps import steps
    from engines.gpu_pixels import GpuPixels

    rows = []
    for size in options.sizes:
        with GpuPixels(device) as pixels:
            for step in steps(pixels, size, options.model, options.classes):
                rows.append(row(device, step, size, options.rounds))
                print(f"{step.name}, {size[1]}x{size[0]}: done", file=sys.stderr)
    return rows


def row(device: Device, step: Step, size: tuple[int, int], rounds: int) -> Row:
    """One step: warmed up by the comparison of its results, then timed in turns."""
    from statistics import median

    from benchmarks.pixel_steps import NOTHING

    agreement = step.agreement()
    ours, peers = [], []
    for _ in range(rounds):
        ours.append(waited(device, step.gpu) if step.copies else queued(device, step.gpu))
        peers.append(clock(step.cpu))
    gpu, cpu = median(ours), median(peers)
    settings = f"{size[1]}x{size[0]}"
    if step.peer == NOTHING:
        return Row(step.name, step.peer, settings, round(gpu, 4), None, None, agreement)
    result = Row(step.name, step.peer, settings, round(gpu, 4), round(cpu, 4), None, agreement)
    return replace(result, ratio=round(cpu / gpu, 1)) if gpu else result


def clock(call: Callable[[], object]) -> float:
    """Milliseconds of a call that returns when it is done."""
    start = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - start)


def waited(device: Device, call: Callable[[], object]) -> float:
    """Milliseconds until the device is done with a call."""

    def wait() -> None:
        call()
        device.synchronise()

    device.synchronise()
    return clock(wait)


def queued(device: Device, call: Callable[[], object]) -> float:
    """The device's milliseconds for one of several calls in a row."""
    device.synchronise()
    start = device.record()
    for _ in range(QUEUED):
        call()
    end = device.record()
    end.synchronise()
    return end.milliseconds_since(start) / QUEUED


def show(result: Result) -> None:
    """A line per step and size."""
    print(f"{result.device} beside {result.machine['cpu']}")
    print(f"{'step':20}{'camera':>12}{'GPU ms':>10}{'CPU ms':>10}{'ratio':>8}{'equal':>10}  CPU by")
    for r in result.results:
        cpu = "" if r.peer_ms is None else f"{r.peer_ms:.3f}"
        ratio = "" if r.ratio is None else f"{r.ratio:.1f}"
        print(
            f"{r.name:20}{r.settings:>12}{r.ours_ms:10.3f}{cpu:>10}{ratio:>8}"
            f"{r.agreement:10.4%}  {r.peer}"
        )


def main(argv: list[str] | None = None) -> int:
    """Exit code 4 without a GPU."""
    return run_command(argv, parse, run, show)


if __name__ == "__main__":
    raise SystemExit(main())
