"""Make a checkpoint of another repository one of ours: same outputs, ready to score and deploy.

--from torchvision   deeplabv3_resnet50, _resnet101, _mobilenet_v3_large
--from smp           segmentation_models.pytorch: DeepLabV3, DeepLabV3Plus, any --encoder
--from vainf         github.com/VainF/DeepLabV3Plus-Pytorch, all but HRNet
--from jfzhang95     github.com/jfzhang95/pytorch-deeplab-xception, all four backbones

Which of a repository's networks it is shows in the file's tensors. What does not show there is what
the flags say: the output stride it was trained at, the classes, the normalisation.
"""

from __future__ import annotations

import dataclasses
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engines.command import height_width, parser, run_command
from engines.failures import UsageError
from train.foreign.architecture import REPOSITORIES, ForeignArchitecture
from train.normalisations import IMAGENET, SYMMETRIC

if TYPE_CHECKING:
    from engines.spec import ModelSpec
    from scenes.folder import Legend

NORMALISATIONS = {"imagenet": IMAGENET, "symmetric": SYMMETRIC}


@dataclass(frozen=True)
class Options:
    """Flags; `classes` names a data set's or a classes.json, as in a folder: data set."""

    repository: str
    weights: Path
    classes: str
    out: Path
    name: str | None = None
    encoder: str | None = None
    rates: str | None = None
    output_stride: int | None = None
    input_size: tuple[int, int] = (512, 512)
    normalise: str = "imagenet"
    full_size: bool = False
    json: Path | None = None

    def __post_init__(self) -> None:
        if (self.repository == "smp") != (self.encoder is not None):
            raise UsageError("--from smp needs --encoder NAME, such as resnet34; no other takes it")
        if self.rates and self.repository != "smp":
            raise UsageError("--rates is for --from smp: elsewhere the output stride gives them")
        if self.full_size and self.repository not in ("smp", "jfzhang95"):
            raise UsageError(
                f"--full-size changes nothing for {self.repository}: its resize is the same as here"
            )
        if min(self.input_size) < 32:
            raise UsageError("--input-size must be at least 32x32")


@dataclass(frozen=True)
class Result:
    """What was written; `left_out` counts the file's tensors that deployment does not need."""

    checkpoint: Path
    spec: ModelSpec
    left_out: int


def parse(argv: list[str] | None) -> Options:
    """Flags -> Options."""
    p = parser(
        __doc__,
        "python train/import_checkpoint.py --from torchvision "
        "--weights deeplabv3_resnet50_coco-cd0a2569.pth --classes voc --out runs/imported",
    )
    required = ("repository", "weights", "classes", "out")
    defaults = {f.name: f.default for f in dataclasses.fields(Options) if f.name not in required}
    p.set_defaults(**defaults)
    add = p.add_argument
    origin = add("--from", dest="repository", choices=tuple(REPOSITORIES), required=True)
    origin.help = "whose network it is"
    add("--weights", type=Path, required=True, metavar="FILE", help=".pth, .tar or .safetensors")
    add("--classes", required=True, metavar="C", help="voc, cityscapes, camvid or a classes.json")
    add("--out", type=Path, required=True, metavar="DIR", help="where the checkpoint goes")
    add("--name", metavar="NAME", help="of the model (default: the weights' file name)")
    add("--encoder", metavar="NAME", help="segmentation_models.pytorch's encoder_name")
    add("--rates", metavar="A-B-C", help="its decoder_atrous_rates (default: 12-24-36)")
    add("--output-stride", type=int, metavar="N", help="trained at (default: the repository's)")
    add("--input-size", type=height_width, metavar="HxW", help="of the deployed model")
    add("--normalise", choices=tuple(NORMALISATIONS), help="what RGB was normalised to")
    add(
        "--full-size",
        action="store_true",
        help="resize the logits to the input inside the network, on the original's own grid: "
        "labels equal at the frame's edge too, at a price in speed (smp, jfzhang95)",
    )
    return Options(**vars(p.parse_args(argv)))


def run(options: Options) -> Result:
    """Read, recognise, check and write."""
    from train.checkpoint import fill, save_checkpoint
    from train.family import build_model
    from train.foreign.checkpoint import LEFT_OUT, read_foreign, rekey
    from train.foreign.recognition import Candidates, complete, recognise

    legend = read_classes(options.classes)
    found = read_foreign(options.weights)
    weights = rekey(options.repository, found)
    candidates = Candidates(options.repository, options.encoder, options.rates)
    architecture = recognise(weights, candidates, len(legend.classes), options.weights)
    spec = new_spec(options, architecture, legend)
    network = build_model(spec.architecture, len(spec.classes), spec.output_stride)
    fill(network, complete(weights, network), options.weights)
    checkpoint = options.out / f"{spec.name}.safetensors"
    options.out.mkdir(parents=True, exist_ok=True)
    save_checkpoint(checkpoint, network, spec)
    left_out = sum(key.startswith(LEFT_OUT[options.repository]) for key in found)
    return Result(checkpoint, spec, left_out)


def read_classes(text: str) -> Legend:
    """Names and colours of a data set, or of a classes.json."""
    from scenes import camvid, cityscapes, voc
    from scenes.dataset import IGNORE
    from scenes.folder import Legend, read_legend

    known = {"voc": voc, "cityscapes": cityscapes, "camvid": camvid}
    if text in known:
        return Legend(known[text].CLASSES, known[text].PALETTE, IGNORE)
    if not Path(text).is_file():
        raise UsageError(f"--classes {text}: {', '.join(known)}, or the file of a classes.json")
    return read_legend(Path(text))


def new_spec(options: Options, architecture: str, legend: Legend) -> ModelSpec:
    """The spec of the imported model; a size or stride it cannot run at raises."""
    from engines.spec import ModelSpec
    from train.checkpoint import spec_of_flags
    from train.foreign.recognition import check_size

    if options.full_size:
        architecture += ",full-size"
    parsed = ForeignArchitecture.parse(architecture)
    mean, std = NORMALISATIONS[options.normalise]
    with spec_of_flags():
        spec = ModelSpec(
            name=options.name or options.weights.name.partition(".")[0],
            architecture=architecture,
            classes=legend.classes,
            palette=legend.palette,
            input_size=options.input_size,
            mean=mean,
            std=std,
            output_stride=parsed.output_stride(options.output_stride),
            logits_stride=parsed.logits_stride(options.output_stride),
        )
    check_size(spec)
    return spec


def show(result: Result) -> None:
    """What it is, what was assumed, and the next commands."""
    spec = result.spec
    height, width = spec.input_size
    print(
        f"{result.checkpoint}: {spec.architecture}, {len(spec.classes)} classes, {height}x{width}"
    )
    print(f"output stride {spec.output_stride}, RGB mean {spec.mean}, std {spec.std}")
    if result.left_out:
        print(f"{result.left_out} tensors left out, which only training needs or stand there twice")
    checkpoint = shlex.quote(str(result.checkpoint))
    print(f"next: python train/evaluate.py --checkpoint {checkpoint} --data SPEC")
    print(f"      python export/build_engine.py --int8 --checkpoint {checkpoint} --data SPEC")


def main(argv: list[str] | None = None) -> int:
    """Command line entry."""
    return run_command(argv, parse, run, show)


if __name__ == "__main__":
    raise SystemExit(main())
