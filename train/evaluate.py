"""Score a checkpoint or a bundle's engine on a labelled split: IoU, pixel and boundary accuracy.

Without --checkpoint or --bundle it scores the model that ships with the repository. --scales and
--flip average the softmax of whole forward passes, as table 5 of the v3+ paper does:
`--output-stride 8 --scales 0.5,0.75,1,1.25,1.5,1.75 --flip`. An engine's input size is part of its
graph, so it can be flipped but not scaled; --crf refines whatever comes out of either. --half
computes a checkpoint in FP16 arithmetic, as a GPU does with an FP16 engine.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engines.command import numbers, parser
from engines.failures import UsageError
from engines.manifest import PRECISIONS, TARGETS
from train.one_voice import run_as_one

if TYPE_CHECKING:
    from crf.refinement import Refinement
    from engines.session import Session
    from engines.spec import ModelSpec
    from scenes.scores import Summary
    from train.evaluation import Predict

FLAVOURS = ("u8", "s8")
CRF_MODES = ("off", "fast", "exact")


@dataclass(frozen=True)
class Options:
    """Flags of `python train/evaluate.py`; contradictory ones raise `UsageError`."""

    data: str
    split: str = "val"
    checkpoint: Path | None = None
    bundle: Path | None = None
    precision: str | None = None
    flavour: str | None = None
    target: str = "cpu"
    output_stride: int | None = None
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    half: bool = False
    crf: str = "off"
    threads: int = 0  # 0 = what PyTorch and onnxruntime choose
    json: Path | None = None

    def __post_init__(self) -> None:
        if self.checkpoint and self.bundle:
            raise UsageError("--checkpoint and --bundle exclude each other: give one of them")
        if self.bundle and self.precision is None:
            raise UsageError("--bundle needs --precision: fp32, fp16, int8 or mixed")
        if self.bundle and (self.output_stride is not None or self.scales != (1.0,)):
            raise UsageError(
                "an engine's input size and stride are fixed when it is built: --output-stride and "
                "--scales need --checkpoint (--flip and --crf work with an engine, too)"
            )
        if self.bundle and self.half:
            raise UsageError("--half computes a checkpoint in FP16: it needs no --bundle")
        if not self.bundle and (self.precision or self.flavour):
            raise UsageError("--precision and --flavour choose an engine: they need --bundle DIR")
        if not all(0.25 <= scale <= 4 for scale in self.scales):
            raise UsageError("--scales must lie between 0.25 and 4")
        if len(set(self.scales)) < len(self.scales):
            raise UsageError("--scales names a scale twice: each is averaged once")
        if self.threads < 0:
            raise UsageError("--threads must not be negative; 0 leaves the choice to PyTorch")


def parse(argv: list[str] | None) -> Options:
    """Flags -> Options."""
    p = parser(__doc__, "python train/evaluate.py --data camvid:DIR --split val --flip")
    p.set_defaults(**{f.name: f.default for f in dataclasses.fields(Options) if f.name != "data"})
    add = p.add_argument
    add("--data", required=True, metavar="SPEC", help="labelled frames, e.g. camvid:DIR")
    add("--split", metavar="NAME", help="of --data")
    add("--checkpoint", type=Path, metavar="FILE", help="a .safetensors with its .json beside it")
    add("--bundle", type=Path, metavar="DIR", help="a bundle of export/build_engine.py")
    add("--precision", choices=PRECISIONS, help="the bundle's engine")
    add("--flavour", choices=FLAVOURS, help="INT8 graph: u8 (CPU) or s8 (TensorRT's numbers)")
    add("--target", choices=TARGETS, help="what runs it")
    add("--output-stride", type=int, metavar="N", help="8, 16 or 32 (default: the spec's)")
    add(
        "--scales",
        type=numbers,
        nargs="+",
        metavar="S",
        help="average over them: 0.75,1,1.25 (default: 1)",
    )
    add("--flip", action="store_true", help="average with the mirrored frame")
    add("--half", action="store_true", help="compute the checkpoint in FP16")
    add("--crf", choices=CRF_MODES, help="refine with the spec's CRF")
    add("--threads", type=int, metavar="N", help="0: all cores")
    p.set_defaults(scales=[Options.scales])
    values = vars(p.parse_args(argv))
    return Options(**values | {"scales": sum(values["scales"], ())})


def run(options: Options) -> Summary:
    """Score the model over the split."""
    import torch

    from scenes.dataset import open_dataset
    from train import processes
    from train.cost import Strategy
    from train.evaluation import check_classes, score

    if options.threads:
        torch.set_num_threads(options.threads)
    dataset = open_dataset(options.data, options.split)
    with processes.joined(), opened(options) as (predict, spec):
        check_classes(spec, dataset, options.data)
        strategy = Strategy(options.scales, options.flip)
        return score(predict, spec, dataset, (strategy, crf_of(spec, options.crf)))


@contextmanager
def opened(options: Options) -> Iterator[tuple[Predict, ModelSpec]]:
    """The model that the flags name, as a prediction, with its spec."""
    from train.checkpoint import bundled, load_model
    from train.evaluation import in_half, predict_through, predict_with

    if options.bundle:
        with open_engine(options) as session:
            yield predict_through(session), session.spec
    else:
        network, spec = load_model(options.checkpoint or bundled(), options.output_stride)
        yield predict_with(in_half(network) if options.half else network, spec), spec


def open_engine(options: Options) -> Session:
    """A session of the bundle; `--flavour` picks the INT8 graph, else the target does."""
    from engines.bundle import Bundle
    from engines.session import open_session

    assert options.bundle is not None
    assert options.precision is not None
    if options.flavour is not None and options.target != "cpu":
        raise UsageError("--flavour picks an ONNX graph, which runs on --target cpu")
    bundle = Bundle.open(options.bundle)
    threads = options.threads or None
    return open_session(bundle, options.precision, options.target, threads, options.flavour)


def crf_of(spec: ModelSpec, mode: str) -> Refinement | None:
    """None for "off", else a CRF with the spec's parameters, or mild ones where it has none."""
    if mode == "off":
        return None
    from crf.dense_crf import MILD
    from crf.refinement import Refinement

    return Refinement(len(spec.classes), spec.crf or MILD, mode)


def show(summary: Summary) -> None:
    """A line per class, then the means."""
    for name, iou in summary.per_class.items():
        print(f"  {name:<14} {'-' if iou is None else f'{iou:.2f}':>6}")
    print(f"mIoU {summary.miou:.2f}, pixel accuracy {summary.pixel_accuracy:.2f}")
    if summary.boundary_f is not None and summary.trimap_accuracy is not None:
        print(
            f"boundary F (3 px) {summary.boundary_f:.2f}, "
            f"trimap accuracy (3 px) {summary.trimap_accuracy:.2f}"
        )
    print(f"over {summary.images} images")


def main(argv: list[str] | None = None) -> int:
    """Command line entry."""
    return run_as_one(argv, parse, run, show)


if __name__ == "__main__":
    raise SystemExit(main())
