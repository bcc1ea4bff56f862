"""TensorRT plans against PyTorch in FP16 on the same GPU, and the CRF's kernels against its C++.

A network's time is from a frame in the host's memory to logits there, copies included; the CRF's
from logits to labels. All take turns in blocks, one run before each block is not timed, and medians
count. Ours on the CPU is among the networks, so that a GPU without TensorRT has a row to compare.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":  # this folder comes first on the path and would hide the room `engines`
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.pair import Pair
from engines.command import parser, run_command
from engines.failures import DeviceMissing, Failure, UsageError

if TYPE_CHECKING:
    from benchmarks.contenders import Contender
    from benchmarks.crf_cases import Case
    from crf import DenseCrf
    from engines.bundle import Bundle
    from scenes.dataset import Labels

PACKAGES = ("torch", "onnxruntime", "tensorrt", "numpy")
PLAN_TARGETS = ("tensorrt", "tensorrt-rtx")
PEERS = ("torch-fp16-eager", "torch-fp16-compiled")
CRF_SIZES = ("480x360x11", "1280x720x21")


@dataclass(frozen=True)
class Options:
    """Which bundle, over how many frames."""

    bundle: Path = Path("artifacts/camvid-mobilenetv2")
    frames: int = 60
    json: Path | None = None

    def __post_init__(self) -> None:
        if self.frames < 1:
            raise UsageError("--frames must be at least 1")


@dataclass(frozen=True)
class Row(Pair):
    """One of ours against one peer: median milliseconds; above a ratio of 1 ours wins."""

    agreement: float


@dataclass(frozen=True)
class Result:
    """All rows; `skipped` says what did not run, and why."""

    results: list[Row]
    skipped: dict[str, str]
    gpu: str
    machine: dict[str, str | int | float]


def parse(argv: list[str] | None) -> Options:
    """Read the command line."""
    default = Options()
    p = parser(__doc__, "python benchmarks/gpu_speed.py --bundle DIR --json speed.json")
    p.add_argument("--bundle", type=Path, default=default.bundle, metavar="DIR", help="the plans")
    p.add_argument("--frames", type=int, default=default.frames, metavar="N", help="to time")
    return Options(**vars(p.parse_args(argv)))


def run(options: Options) -> Result:
    """Measure networks, then the CRF."""
    from engines.bundle import Bundle
    from engines.gpu_facts import probe_gpu
    from engines.machine import describe_machine

    gpu = probe_gpu()
    if gpu is None:
        raise DeviceMissing("this compares what runs on an NVIDIA GPU, and there is none")
    machine = describe_machine(*PACKAGES)
    bundle = Bundle.open(options.bundle)
    rows, skipped = networks(bundle, options)
    more, lacking = crfs(bundle, options)
    return Result(rows + more, skipped | lacking, gpu.name, machine)


def networks(bundle: Bundle, options: Options) -> tuple[list[Row], dict[str, str]]:
    """Each plan of the bundle, and ours on the CPU, against PyTorch."""
    from benchmarks.contenders import masks, take_turns
    from benchmarks.engines import load_scenes

    scenes = load_scenes("street:", "val", options.frames, bundle.spec.input_size)
    with ExitStack() as stack:
        ours, skipped = opened(our_openers(bundle, stack))
        peers, lacking = opened(peer_openers(bundle))
        labels = {each.name: masks(each, scenes) for each in (*ours, *peers)}
        times = take_turns([*ours, *peers], [scene.frame for scene in scenes])
    height, width = bundle.spec.input_size
    settings = {"size": f"{width}x{height}", "frames": len(scenes), "what": "network"}
    rows = [row(m.name, p.name, settings, times, labels) for m in ours for p in peers]
    return rows, skipped | lacking


def our_openers(bundle: Bundle, stack: ExitStack) -> Iterator[tuple[str, Callable[[], Contender]]]:
    """Ours by name; each is opened by calling."""
    from benchmarks.contenders import Contender
    from engines.session import open_session

    def opener(precision: str, target: str) -> Callable[[], Contender]:
        def open_one() -> Contender:
            session = stack.enter_context(open_session(bundle, precision, target))
            return Contender(f"{target}-{precision}", lambda f: session.run(f[None])[0].copy())

        return open_one

    for file in bundle.manifest.files:
        if file.kind == "plan" and file.target in PLAN_TARGETS and file.precision:
            yield f"{file.target}-{file.precision}", opener(file.precision, file.target)
    precision, _ = bundle.choose_precision("cpu")
    yield f"cpu-{precision}", opener(precision, "cpu")


def peer_openers(bundle: Bundle) -> Iterator[tuple[str, Callable[[], Contender]]]:
    """PyTorch's by name; a device does without it."""
    from benchmarks.peers import missing

    def opener(name: str) -> Callable[[], Contender]:
        def open_one() -> Contender:
            if missing("torch"):
                raise DeviceMissing("PyTorch is not installed: pip install -e '.[train]'")
            from benchmarks.cuda_peers import cuda_peer

            return cuda_peer(name, bundle)

        return open_one

    for name in PEERS:
        yield name, opener(name)


def opened(
    openers: Iterator[tuple[str, Callable[[], Contender]]],
) -> tuple[list[Contender], dict[str, str]]:
    """Those that can run here, and for each other one why not."""
    found, skipped = [], {}
    for name, open_one in openers:
        try:
            found.append(open_one())
        except Failure as reason:
            skipped[name] = str(reason)
    return found, skipped


def crfs(bundle: Bundle, options: Options) -> tuple[list[Row], dict[str, str]]:
    """The exact mode on the GPU against the same on all cores, with the stock settings."""
    from benchmarks.contenders import take_turns
    from benchmarks.crf import STOCK
    from benchmarks.crf_cases import Size, load_cases
    from crf import DenseCrf
    from engines.machine import usable_cores

    rows: list[Row] = []
    setting, params = next(iter(STOCK.items()))
    for size in map(Size.of, CRF_SIZES):
        cases = load_cases(bundle, "street:", "val", size, min(options.frames, 8))
        try:
            gpu = DenseCrf(size.frame, size.classes, params, "cuda")
        except Failure as reason:
            return rows, {"crf-cuda": str(reason)}
        cpu = DenseCrf(size.frame, size.classes, params, "cpu")
        names = "crf-cuda", f"crf-cpu-{usable_cores()}-threads"
        turns = [Refiner(name, crf) for name, crf in zip(names, (gpu, cpu), strict=True)]
        labels = {turn.name: [turn.run(case) for case in cases] for turn in turns}
        times = take_turns(turns, cases * 5)
        settings = {
            "size": size.text, "classes": size.classes, "setting": setting, "frames": len(cases),
            "what": "crf",
        }  # fmt: skip
        rows.append(row(*names, settings, times, labels))
    return rows, {}


@dataclass(frozen=True)
class Refiner:
    """A CRF that takes turns."""

    name: str
    crf: DenseCrf

    def run(self, case: Case) -> Labels:
        """The labels of one frame."""
        return self.crf.refine(case.frame, case.logits)


def row(
    name: str,
    peer: str,
    settings: dict[str, Any],
    times: dict[str, float],
    labels: dict[str, list[Labels]],
) -> Row:
    """One of ours against one peer; agreement is the share of pixels with the same label."""
    from benchmarks.engines import same
    from engines.machine import usable_cores

    ratio = times[peer] / times[name]
    agreement = same(labels[name], labels[peer])
    return Row(name, peer, usable_cores(), settings, times[name], times[peer], ratio, agreement)


def show(result: Result) -> None:
    """Print one line per pair, and what was skipped."""
    print(", ".join(f"{key} {value}" for key, value in result.machine.items()), result.gpu)
    print(f"{'ours':22}{'peer':24}{'size':>10}{'ours ms':>9}{'peer ms':>9}{'faster':>8}{'same':>9}")
    for each in result.results:
        print(
            f"{each.name:22}{each.peer:24}{each.settings['size']:>10}{each.ours_ms:9.2f}"
            f"{each.peer_ms:9.2f}{each.ratio:7.2f}x{each.agreement:9.2%}"
        )
    for name, reason in result.skipped.items():
        print(f"{name} skipped: {reason}")


def main(argv: list[str] | None = None) -> int:
    """Command line entry point; returns the exit code."""
    return run_command(argv, parse, run, show)


if __name__ == "__main__":
    raise SystemExit(main())
