"""Build a bundle: one checkpoint becomes verified graphs and the engines this machine can make.

Every build writes all ONNX precisions; --fp32, --fp16, --int8 or --mixed picks the engines'.
INT8 needs real frames: what was found for a bundled model ships beside its weights; for any other
give --data. --mixed keeps in float what costs too much: the cheapest graph within --max-drop.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engines.command import parser, run_command
from engines.failures import UsageError

if TYPE_CHECKING:
    from export.recipe import BuildResult

TARGETS = ("auto", "cpu", "openvino", "tensorrt", "tensorrt-rtx")


@dataclass(frozen=True)
class Options:
    """What to build, from what, for what. One source: `model`, `checkpoint` or `onnx`."""

    precision: str = "fp16"
    model: str | None = None
    checkpoint: Path | None = None
    onnx: Path | None = None
    data: str | None = None
    split: str = "train"
    frames: int = 200
    scheme: str = "auto"
    max_drop: float = 0.3
    save_ranges: bool = False
    target: str = "auto"
    out: Path | None = None
    workspace_mb: int = 1024
    json: Path | None = None

    def __post_init__(self) -> None:
        sources = [s for s in (self.model, self.checkpoint, self.onnx) if s is not None]
        if len(sources) > 1:
            raise UsageError("give one of --model, --checkpoint and --onnx, not several")
        if self.save_ranges and self.data is None:
            raise UsageError("--save-ranges keeps ranges taken from frames: add --data SPEC")
        if not self.max_drop >= 0:
            raise UsageError(f"--max-drop: a limit is 0 points or more, got {self.max_drop}")
        if self.frames < 1 or self.workspace_mb < 1:
            raise UsageError("--frames and --workspace-mb must be at least 1")


def parse(argv: list[str] | None) -> Options:
    """Read the command line."""
    default = Options()
    p = parser(__doc__, "python export/build_engine.py --int8 --data camvid:DIR")
    precision = p.add_mutually_exclusive_group()
    for name in ("fp32", "fp16", "int8", "mixed"):
        precision.add_argument(
            f"--{name}", dest="precision", action="store_const", const=name, help=f"{name} engines"
        )
    source = p.add_argument_group("source (default: the bundled model)")
    source.add_argument("--model", metavar="NAME", help="a bundled model")
    source.add_argument("--checkpoint", type=Path, metavar="F", help="a .safetensors checkpoint")
    source.add_argument("--onnx", type=Path, metavar="F", help="an ONNX graph; needs no torch")
    calibration = p.add_argument_group("calibration")
    calibration.add_argument("--data", metavar="SPEC", help="images:DIR, folder:DIR, camvid:DIR")
    calibration.add_argument("--split", default=default.split, help="(default: %(default)s)")
    calibration.add_argument("--frames", type=int, default=default.frames, metavar="N")
    calibration.add_argument(
        "--scheme", default=default.scheme, metavar="SCHEME", type=scheme,
        help="auto tries them all on held-out frames; or one, e.g. percentile, mse+equalise+bias",
    )  # fmt: skip
    calibration.add_argument(
        "--max-drop", type=float, default=default.max_drop, metavar="X",
        help="points of mIoU that a mixed graph may lose (default: %(default)s)",
    )  # fmt: skip
    calibration.add_argument(
        "--save-ranges", action="store_true", help="also keep what was found beside the checkpoint"
    )
    engines = p.add_argument_group("engines")
    engines.add_argument("--target", default=default.target, choices=TARGETS)
    engines.add_argument("--out", type=Path, metavar="DIR", help="the bundle's folder")
    engines.add_argument("--workspace-mb", type=int, default=default.workspace_mb, metavar="MB")
    p.set_defaults(precision=default.precision)
    return Options(**vars(p.parse_args(argv)))


def scheme(text: str) -> str:
    """`auto`, or a scheme as it is spelled canonically."""
    from calibration.scheme import Scheme

    return text if text == "auto" else str(Scheme.parse(text))


def run(options: Options) -> BuildResult:
    """Build the bundle."""
    from export.recipe import build

    return build(options)


def show(result: BuildResult) -> None:
    """Print what was built, how it was checked, and the next command."""
    print("\n".join(result.lines()))


def main(argv: list[str] | None = None) -> int:
    """Command line entry point; returns the exit code."""
    return run_command(argv, parse, run, show)


if __name__ == "__main__":
    raise SystemExit(main())
