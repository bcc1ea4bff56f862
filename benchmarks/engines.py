"""Our engines against what people use today: the same frames, the same stride-4 logits, one run.

Ours are the bundle's sessions; peers are PyTorch eager (contiguous and channels_last) from the
bundle's own checkpoint, and plain onnxruntime on the same FP32 graph with its default options.

The contenders take turns in blocks of frames. Before each block the last contender's threads get
time to fall asleep (onnxruntime's spin for 27 ms, OpenMP's for 4) and one frame goes by untimed,
so that nobody pays for its predecessor; medians over many short blocks spread a busy machine's
noise over all. Agreement is the share of pixels with the same label.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":  # this folder comes first on the path and would hide the room `engines`
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engines.command import parser, run_command
from engines.failures import UsageError

if TYPE_CHECKING:
    from benchmarks.contenders import Contender, Frame

PACKAGES = ("onnxruntime", "torch", "numpy")


@dataclass(frozen=True)
class Options:
    """What to run, on how many threads, over which frames."""

    bundle: Path = Path("artifacts/camvid-mobilenetv2")
    threads: tuple[int, ...] = (1, 2)
    frames: int = 40
    data: str = "street:"
    split: str = "val"
    json: Path | None = None

    def __post_init__(self) -> None:
        if self.frames < 1 or not self.threads or min(self.threads) < 1:
            raise UsageError("--frames and --threads must be at least 1")


@dataclass(frozen=True)
class Row:
    """One of ours against one peer: median milliseconds per frame; above a ratio of 1 ours wins."""

    name: str
    peer: str
    threads: int
    settings: dict[str, Any]
    ours_ms: float
    peer_ms: float
    ratio: float
    agreement: float


@dataclass(frozen=True)
class Result:
    """All rows; `skipped` says which peers did not run, and why."""

    results: list[Row]
    skipped: dict[str, str]
    machine: dict[str, str | int | float]


def parse(argv: list[str] | None) -> Options:
    """Read the command line."""
    default = Options()
    p = parser(__doc__, "python benchmarks/engines.py --threads 2 --data camvid:DIR")
    p.add_argument("--bundle", type=Path, default=default.bundle, metavar="DIR")
    p.add_argument("--threads", type=counts, default=default.threads, metavar="1,2")
    p.add_argument("--frames", type=int, default=default.frames, metavar="N")
    p.add_argument("--data", default=default.data, metavar="SPEC", help="(default: %(default)s)")
    p.add_argument("--split", default=default.split, help="(default: %(default)s)")
    return Options(**vars(p.parse_args(argv)))


def counts(text: str) -> tuple[int, ...]:
    """Thread counts: "1,2"."""
    return tuple(int(part) for part in text.split(","))


def run(options: Options) -> Result:
    """Time all contenders, once per thread count."""
    from benchmarks.contenders import ours, peers
    from engines.bundle import Bundle
    from engines.machine import describe_machine

    bundle = Bundle.open(options.bundle)
    frames = load_frames(options, bundle.spec.input_size)
    machine = describe_machine(*PACKAGES)
    height, width = bundle.spec.input_size
    settings = {
        "size": f"{width}x{height}", "output_stride": bundle.spec.output_stride,
        "logits_stride": bundle.spec.logits_stride, "frames": len(frames), "data": options.data,
    }  # fmt: skip
    rows: list[Row] = []
    skipped: dict[str, str] = {}
    for threads in options.threads:
        rivals, skipped = peers(bundle, threads)
        rows += duel(ours(bundle, threads), rivals, frames, threads, settings)
    return Result(rows, skipped, machine)


def load_frames(options: Options, size: tuple[int, int]) -> list[Frame]:
    """At most `--frames` real frames spread over the split, at the model's size."""
    from calibration.accuracy import spread
    from engines.preprocess import fit_frame
    from scenes.dataset import open_dataset

    dataset = open_dataset(options.data, options.split)
    indices = spread(len(dataset), options.frames)
    return [fit_frame(dataset[index].frame, size).copy() for index in indices]


def duel(
    ours: list[Contender],
    peers: list[Contender],
    frames: list[Frame],
    threads: int,
    settings: dict[str, Any],
) -> list[Row]:
    """Every one of ours against every peer."""
    from benchmarks.contenders import masks, take_turns

    labels = {contender.name: masks(contender, frames) for contender in (*ours, *peers)}
    times = take_turns([*ours, *peers], frames)
    return [
        Row(
            name=mine.name,
            peer=peer.name,
            threads=threads,
            settings=settings,
            ours_ms=times[mine.name],
            peer_ms=times[peer.name],
            ratio=times[peer.name] / times[mine.name],
            agreement=float((labels[mine.name] == labels[peer.name]).mean()),
        )
        for mine in ours
        for peer in peers
    ]


def show(result: Result) -> None:
    """Print one line per pair, and what was skipped."""
    print(", ".join(f"{key} {value}" for key, value in result.machine.items()))
    print(
        f"{'ours':6}{'peer':27}{'threads':>8}{'ours ms':>9}{'peer ms':>9}{'faster':>8}{'same':>9}"
    )
    for row in result.results:
        print(
            f"{row.name:6}{row.peer:27}{row.threads:8}{row.ours_ms:9.1f}{row.peer_ms:9.1f}"
            f"{row.ratio:7.2f}x{row.agreement:9.2%}"
        )
    for name, reason in result.skipped.items():
        print(f"{name} skipped: {reason}")
    load, cores = result.machine["load"], result.machine["cores"]
    if float(load) > float(cores):  # OpenMP's barriers then cost PyTorch several times its own work
        print(f"WARNING: load {load} on {cores} cores: others are computing too; quote no number")


def main(argv: list[str] | None = None) -> int:
    """Command line entry point; returns the exit code."""
    return run_command(argv, parse, run, show)


if __name__ == "__main__":
    raise SystemExit(main())
