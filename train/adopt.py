"""Take a trained checkpoint into train/weights, in half precision, and say what FP16 cost.

Its calibration ranges and CRF settings belong to the old weights then: the two commands that are
printed renew them.
"""

from __future__ import annotations

import dataclasses
import shlex
from dataclasses import dataclass
from pathlib import Path

from engines.command import parser, run_command


@dataclass(frozen=True)
class Options:
    """Flags of `python train/adopt.py`."""

    checkpoint: Path
    data: str
    split: str = "val"
    name: str | None = None  # the spec's
    weights: Path | None = None  # train/weights
    json: Path | None = None


@dataclass(frozen=True)
class Result:
    """What was written; mIoU on `data` in percent, as trained and as stored."""

    checkpoint: Path
    miou: float
    stored_miou: float


def parse(argv: list[str] | None) -> Options:
    """Flags -> Options."""
    p = parser(__doc__, "python train/adopt.py runs/first/deeplab.safetensors --data camvid:DIR")
    p.set_defaults(split=Options.split)
    p.add_argument("checkpoint", type=Path, metavar="FILE", help="a .safetensors with its .json")
    p.add_argument("--data", required=True, metavar="SPEC", help="labelled frames to check it on")
    p.add_argument("--split", metavar="NAME", help="of --data")
    p.add_argument("--name", metavar="NAME", help="of the model (default: the spec's)")
    p.add_argument("--weights", type=Path, metavar="DIR", help="where to (default: train/weights)")
    return Options(**vars(p.parse_args(argv)))


def run(options: Options) -> Result:
    """Score, store, score again."""
    from scenes.dataset import open_dataset
    from train.checkpoint import WEIGHTS, load_model, save_checkpoint, spec_of_flags
    from train.evaluation import check_classes, mean_iou, predict_with

    dataset = open_dataset(options.data, options.split)
    network, spec = load_model(options.checkpoint)
    check_classes(spec, dataset, options.data)
    with spec_of_flags():
        stored_spec = dataclasses.replace(spec, name=options.name or spec.name, crf=None)
    miou = mean_iou(predict_with(network, spec), spec, dataset)
    path = (options.weights or WEIGHTS) / f"{stored_spec.name}.safetensors"
    save_checkpoint(path, network, stored_spec, half=True)
    stored, _ = load_model(path)
    return Result(path, miou, mean_iou(predict_with(stored, spec), spec, dataset))


def show(result: Result) -> None:
    """The scores and what has to follow."""
    print(f"mIoU {result.miou:.2f}, {result.stored_miou:.2f} as FP16: {result.checkpoint}")
    print(
        "next: python export/build_engine.py --int8 --save-ranges --data SPEC --checkpoint "
        f"{shlex.quote(str(result.checkpoint))}\n"
        "then: python calibration/tune_crf.py --data SPEC --bundle artifacts/"
        f"{result.checkpoint.stem}"
    )


def main(argv: list[str] | None = None) -> int:
    """Command line entry."""
    return run_command(argv, parse, run, show)


if __name__ == "__main__":
    raise SystemExit(main())
