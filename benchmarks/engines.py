"""Our engines against what people use today: the same frames, the same stride-4 logits, one run.

Ours are the bundle's sessions: in onnxruntime, and in OpenVINO where that is installed. Peers:
PyTorch eager (contiguous and channels_last) and compiled from the bundle's own checkpoint; plain
onnxruntime and OpenVINO on the same FP32 graph with their defaults; and that graph quantized by
NNCF's defaults over 300 frames of the calibration split.

The contenders take turns in blocks of frames. Before each block the last contender's threads get
time to fall asleep (onnxruntime's spin for 27 ms, OpenMP's for 4) and one frame goes by untimed,
so that nobody pays for its predecessor; medians over many short blocks spread a busy machine's
noise over all. Core-ms are what a frame costs all cores together. Agreement is the share of pixels
with the same label; mIoU is over the timed frames.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":  # this folder comes first on the path and would hide the room `engines`
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from benchmarks.pair import Pair
from engines.command import counts, names, parser, run_command
from engines.failures import UsageError

if TYPE_CHECKING:
    from benchmarks.contenders import Contender, Frame
    from scenes.dataset import Labels, Scene

PACKAGES = ("onnxruntime", "openvino", "nncf", "torch", "numpy")


@dataclass(frozen=True)
class Options:
    """What to run, on how many threads, over which frames."""

    bundle: Path = Path("artifacts/camvid-mobilenetv2")
    threads: tuple[int, ...] = (1, 2)
    frames: int = 40
    data: str = "street:"
    split: str = "val"
    calibration_split: str = "train"
    peers: tuple[str, ...] | None = None
    json: Path | None = None

    def __post_init__(self) -> None:
        if self.frames < 1 or not self.threads or min(self.threads) < 1:
            raise UsageError("--frames and --threads must be at least 1")


@dataclass(frozen=True)
class Row(Pair):
    """One of ours against one peer: medians per frame; above a ratio (of `ms`) of 1 ours wins."""

    ours_core_ms: float
    peer_core_ms: float
    agreement: float
    ours_miou: float
    peer_miou: float


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
    p.add_argument(
        "--bundle",
        type=Path,
        default=default.bundle,
        metavar="DIR",
        help="ours, and where peers get their graph",
    )
    p.add_argument(
        "--threads", type=counts, default=default.threads, metavar="N,N", help="of every contender"
    )
    p.add_argument("--frames", type=int, default=default.frames, metavar="N", help="to time")
    p.add_argument("--data", default=default.data, metavar="SPEC", help="frames")
    p.add_argument("--split", default=default.split, metavar="NAME", help="of --data")
    p.add_argument(
        "--calibration-split", default=default.calibration_split, metavar="NAME",
        help="frames for NNCF's calibration",
    )  # fmt: skip
    p.add_argument(
        "--peers", type=names, default=default.peers, metavar="NAME,...",
        help="only these (default: all)",
    )  # fmt: skip
    return Options(**vars(p.parse_args(argv)))


def run(options: Options) -> Result:
    """Time all contenders, once per thread count."""
    from benchmarks.contenders import ours
    from benchmarks.peers import ALL, check_names, peers
    from engines.bundle import Bundle
    from engines.machine import describe_machine

    wanted = check_names(options.peers or ALL)
    bundle = Bundle.open(options.bundle)
    size = bundle.spec.input_size
    scenes = load_scenes(options.data, options.split, options.frames, size)
    calibration = calibration_frames(options, size)
    machine = describe_machine(*PACKAGES)
    settings = {
        "size": f"{size[1]}x{size[0]}", "output_stride": bundle.spec.output_stride,
        "logits_stride": bundle.spec.logits_stride, "frames": len(scenes), "data": options.data,
        "split": options.split,
    }  # fmt: skip
    rows: list[Row] = []
    skipped: dict[str, str] = {}
    for threads in options.threads:
        rivals, skipped = peers(bundle, threads, calibration, wanted)
        rows += duel(ours(bundle, threads), rivals, scenes, threads, settings)
    return Result(rows, skipped, machine)


def calibration_frames(options: Options, size: tuple[int, int]) -> list[Frame]:
    """What NNCF calibrates on; none where the data has no such split."""
    from benchmarks.peers import NNCF_FRAMES
    from scenes.dataset import DatasetError

    try:
        scenes = load_scenes(options.data, options.calibration_split, NNCF_FRAMES, size)
    except DatasetError:
        return []
    return [scene.frame for scene in scenes]


def load_scenes(data: str, split: str, limit: int, size: tuple[int, int]) -> list[Scene]:
    """At most `limit` labelled frames spread over a split, the frames at the model's size."""
    from engines.preprocess import fit_frame
    from scenes.dataset import open_dataset, spread

    dataset = open_dataset(data, split)
    scenes = (dataset[index] for index in spread(len(dataset), limit))
    return [replace(scene, frame=fit_frame(scene.frame, size).copy()) for scene in scenes]


def duel(
    ours: list[Contender],
    peers: list[Contender],
    scenes: list[Scene],
    threads: int,
    settings: dict[str, Any],
) -> list[Row]:
    """Every one of ours against every peer."""
    from benchmarks.contenders import Metered, masks, take_turns

    labels = {contender.name: masks(contender, scenes) for contender in (*ours, *peers)}
    scores = {name: miou(scenes, found) for name, found in labels.items()}
    meters = {contender.name: Metered(contender) for contender in (*ours, *peers)}
    times = take_turns(list(meters.values()), [scene.frame for scene in scenes])
    return [
        Row(
            name=mine.name,
            peer=peer.name,
            threads=threads,
            settings=settings,
            ours_ms=times[mine.name],
            peer_ms=times[peer.name],
            ratio=times[peer.name] / times[mine.name],
            ours_core_ms=meters[mine.name].core_ms(),
            peer_core_ms=meters[peer.name].core_ms(),
            agreement=same(labels[mine.name], labels[peer.name]),
            ours_miou=scores[mine.name],
            peer_miou=scores[peer.name],
        )
        for mine in ours
        for peer in peers
    ]


def miou(scenes: list[Scene], labels: list[Labels]) -> float:
    """Percent, of masks against the scenes' truth."""
    from scenes.confusion import ConfusionMatrix
    from scenes.dataset import IGNORE

    confusion = ConfusionMatrix(IGNORE - 1)  # whatever labels there are
    for scene, found in zip(scenes, labels, strict=True):
        confusion.add(scene.labels, found)
    return 100 * confusion.miou


def same(ours: list[Labels], theirs: list[Labels]) -> float:
    """The share of equal pixels."""
    import numpy as np

    pairs = zip(ours, theirs, strict=True)
    return float(np.mean(np.concatenate([(a == b).ravel() for a, b in pairs])))


def show(result: Result) -> None:
    """Print one line per pair, and what was skipped."""
    print(", ".join(f"{key} {value}" for key, value in result.machine.items()))
    print(
        f"{'ours':15}{'peer':30}{'threads':>8}{'ours ms':>9}{'peer ms':>9}{'faster':>8}"
        f"{'core-ms':>9}{'peer':>7}{'same':>9}{'ours mIoU':>11}{'peer mIoU':>11}"
    )
    for row in result.results:
        print(
            f"{row.name:15}{row.peer:30}{row.threads:8}{row.ours_ms:9.1f}{row.peer_ms:9.1f}"
            f"{row.ratio:7.2f}x{row.ours_core_ms:9.1f}{row.peer_core_ms:7.1f}{row.agreement:9.2%}"
            f"{row.ours_miou:11.2f}{row.peer_miou:11.2f}"
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
