"""Train a DeepLab v3+ on labelled frames; interrupt it at will and go on with --resume.

--run-dir DIR receives <name>.safetensors (the moving average of the weights), <name>.json (the spec
that rebuilds the network), log.csv (a line per epoch) and state.pt (for --resume).
"""

from __future__ import annotations

import dataclasses
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engines.command import height_width, parser
from engines.failures import Refused, UsageError
from train.fit_options import FINE_TUNING, Options
from train.normalisations import SYMMETRIC
from train.one_voice import run_as_one

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from engines.spec import ModelSpec
    from export.fine_tuning import FineTuning
    from scenes.dataset import Dataset
    from train.fit_data import Data
    from train.network import Network
    from train.samples import Samples
    from train.trainer import Trainer

    Save = Callable[[Path, nn.Module, ModelSpec], None]


@dataclass(frozen=True)
class Result:
    """Where the weights are, and how good they were at the last validation (percent)."""

    checkpoint: Path
    miou: float
    epochs: int


def parse(argv: list[str] | None) -> Options:
    """Flags -> Options."""
    p = parser(__doc__, "python train/fit.py --data camvid:DIR --mix street: --run-dir runs/first")
    p.set_defaults(**{f.name: f.default for f in dataclasses.fields(Options) if f.name != "data"})
    add = p.add_argument
    add(
        "--data",
        action="append",
        required=True,
        metavar="SPEC",
        help="labelled frames; may be repeated",
    )
    add("--split", metavar="NAME", help="to train on")
    add("--val-data", metavar="SPEC", help="frames to validate on (default: the first --data)")
    add("--val-split", metavar="NAME", help="their split")
    add("--mix", metavar="SPEC", help="draw random frames of this dataset into every epoch")
    add("--mix-share", type=float, metavar="X", help="their share of an epoch")
    add("--architecture", metavar="NAME", help="one that train/models.py lists")
    add("--name", metavar="NAME", help="of the model and of its files")
    add("--init", type=Path, metavar="FILE", help="start from .npz or .safetensors weights")
    add("--init-backbone", type=Path, metavar="FILE", help="start with the trunk of these weights")
    add("--pretrained", action="store_true", help="take the trunk's ImageNet weights from timm")
    add("--freeze-backbone", action="store_true", help="train the head alone")
    add("--qat", action="store_true", help="fine-tune --from as INT8 (rate 3e-5, 10 epochs)")
    add("--from", dest="source", type=Path, metavar="FILE", help="the checkpoint that --qat tunes")
    # torchrun takes "--run" for an ambiguous option of its own, even behind the script's name
    run = add("--run-dir", "--run", type=Path, metavar="DIR", dest="run")
    run.help = "where state and weights go"
    add("--resume", action="store_true", help="go on with the run in --run-dir")
    add("--epochs", type=int, metavar="N", help="passes over the frames")
    add("--batch", type=int, metavar="N", help="frames a step, over all processes")
    add("--crop", type=height_width, metavar="HxW", help="of a training sample")
    add("--input-size", type=height_width, metavar="HxW", help="of the deployed model")
    add("--output-stride", type=int, metavar="N", help="8, 16 or 32")
    add("--learning-rate", type=float, metavar="X", help="falls to 0 with power 0.9")
    add("--backbone-rate", type=float, metavar="X", help="the backbone's factor on it")
    add("--weight-decay", type=float, metavar="X", help="of AdamW")
    add("--ema", type=float, metavar="X", help="decay of the weights' moving average")
    add("--lovasz", type=float, metavar="X", help="add X times the Lovász loss")
    add("--teacher", type=Path, metavar="FILE", help="learn from this checkpoint's answers, too")
    add("--teacher-weight", type=float, metavar="X", help="weight of those answers")
    add("--class-mix", type=float, metavar="X", help="paste rare classes with probability X")
    add("--scale", type=float, nargs=2, metavar="X", help="smallest and largest random scale")
    add("--colour", type=float, metavar="X", help="strength of random colours")
    add("--validate-every", type=int, metavar="N", help="validate every N epochs")
    add("--threads", type=int, metavar="N", help="0: PyTorch's choice")
    add("--precision", choices=("bf16", "fp32"), help="of the arithmetic")
    add("--seed", type=int, metavar="N", help="of all that is random")
    if p.parse_args(argv).qat:
        p.set_defaults(**FINE_TUNING)
    values = vars(p.parse_args(argv))
    tuples = {name: tuple(values[name]) for name in ("data", "scale")}
    return Options(**values | tuples)


def run(options: Options) -> Result:
    """Train from the start, or from the saved state, to the last epoch."""
    import torch

    from engines.atomic import check_writable
    from train.family import build_model
    from train.fit_data import check_crop, open_data, samples_of
    from train.samples import class_weights, preload
    from train.starting_weights import initialise, open_teacher
    from train.trainer import Trainer

    if not options.resume and (options.run / "state.pt").exists():
        raise UsageError(
            f"{options.run} holds a run already: add --resume or choose another --run-dir"
        )
    check_writable(options.run / "state.pt")
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    data = open_data(options)
    tuning = open_tuning(options, data) if options.qat else None
    spec = tuning.spec if tuning else new_spec(options, data)
    fetch = options.pretrained and not options.resume
    network: Network = (
        tuning.network
        if tuning
        else build_model(spec.architecture, len(spec.classes), spec.output_stride, fetch)
    )
    check_crop(options, spec)
    scenes = [scene for dataset in data.training for scene in preload(dataset, spec.input_size)]
    others = preload(data.mix, spec.input_size) if data.mix else []
    samples = samples_of(scenes, others, spec, options)
    if not options.resume:
        initialise(network, options, spec, scenes)
    weights = class_weights([scene.labels for scene in scenes], len(spec.classes))
    trainer = Trainer(network, spec, options, weights, len(samples) // options.batch)
    if options.teacher:
        trainer.learn_from(open_teacher(options.teacher, spec))
    if options.resume:
        trainer.resume(options.run)
    return fit(trainer, samples, data.validation, spec, tuning.save if tuning else None)


def fit(
    trainer: Trainer,
    samples: Samples,
    validation: Dataset,
    spec: ModelSpec,
    save: Save | None = None,
) -> Result:
    """Epoch by epoch: train, validate every few, save everything (`save`: in another form)."""
    from train.checkpoint import save_checkpoint
    from train.evaluation import mean_iou, predict_with

    options = trainer.options
    checkpoint = options.run / f"{spec.name}.safetensors"
    while trainer.epoch < options.epochs:
        line = trainer.train_epoch(samples)
        done = trainer.epoch + 1
        line["miou"] = None
        if done % options.validate_every == 0 or done == options.epochs:
            line["miou"] = mean_iou(predict_with(trainer.average, spec), spec, validation)
        trainer.history.append(line)
        if trainer.leads:
            (save or save_checkpoint)(checkpoint, trainer.average, spec)
            trainer.save(options.run)
        show_line(line)
    miou = trainer.history[-1]["miou"]
    assert miou is not None
    return Result(checkpoint, miou, trainer.epoch)


def new_spec(options: Options, data: Data) -> ModelSpec:
    """The spec of the network to be; it is fed [-1, 1], as DeepLab's authors feed theirs, or what
    timm's trunk was trained on."""
    from engines.spec import ModelSpec
    from train.checkpoint import spec_of_flags
    from train.family import parse as parse_architecture
    from train.pretrained import normalisation

    mean, std = normalisation(options.architecture) if options.pretrained else SYMMETRIC
    architecture = parse_architecture(options.architecture)
    with spec_of_flags():
        return ModelSpec(
            name=options.name,
            architecture=options.architecture,
            classes=data.validation.classes,
            palette=data.validation.palette,
            input_size=options.input_size,
            mean=mean,
            std=std,
            output_stride=options.output_stride,
            logits_stride=architecture.logits_stride(options.output_stride),
        )


def open_tuning(options: Options, data: Data) -> FineTuning:
    """The checkpoint of --from with INT8's rounding in it; one of other classes raises `Refused`.

    What the rounding is comes from `export`, a room above: this script may look up to it because
    nothing imports a script.
    """
    from export.fine_tuning import open_fine_tuning
    from train.checkpoint import load_model, spec_of_flags

    assert options.source is not None
    network, spec = load_model(options.source)
    if spec.classes != data.validation.classes:
        raise Refused(
            f"{options.source} tells {', '.join(spec.classes)} apart, but the frames of --data "
            f"show {', '.join(data.validation.classes)}: fine-tune it on frames of its own classes"
        )
    with spec_of_flags():
        spec = dataclasses.replace(spec, name=options.name)
    return open_fine_tuning(network, spec, options.crop, options.data[0], options.split)


def show_line(line: dict[str, float | None]) -> None:
    """One epoch, for people."""
    miou = line["miou"]
    score = f", val mIoU {miou:.2f}" if miou is not None else ""
    print(
        f"epoch {line['epoch']}: loss {line['loss']:.4f}, {line['seconds']:.0f} s{score}",
        flush=True,
    )


def show(result: Result) -> None:
    """The outcome and the next command."""
    print(f"val mIoU {result.miou:.2f} after {result.epochs} epochs: {result.checkpoint}")
    learned = result.checkpoint.with_suffix(".ranges.json").exists()  # by --qat
    checkpoint = shlex.quote(str(result.checkpoint))
    command = f"python export/build_engine.py --int8 --checkpoint {checkpoint}"
    print(f"next: {command}" + ("" if learned else " --data SPEC"))


def main(argv: list[str] | None = None) -> int:
    """Command line entry."""
    return run_as_one(argv, parse, run, show)


if __name__ == "__main__":
    raise SystemExit(main())
