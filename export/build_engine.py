"""Build a bundle: one checkpoint becomes verified graphs and the engines this machine can make.

Every build writes all ONNX precisions; --fp32, --fp16, --int8 or --mixed picks the engines'.
INT8 needs real frames: what was found for a bundled model ships beside its weights; for any other
give --data. --mixed keeps in float what costs too much: the cheapest graph within --max-drop.
On a device, --bundle DIR builds the plans anew from the graphs of a bundle that was made elsewhere.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engines.command import height_width, parser, run_command
from engines.failures import UsageError

if TYPE_CHECKING:
    from export.engine_row import BuildResult
    from export.plans.settings import BuildSettings, Size

TARGETS = ("auto", "cpu", "openvino", "tensorrt", "tensorrt-rtx")


@dataclass(frozen=True)
class Options:
    """What to build, from what, for what. One source: `model`, `checkpoint`, `onnx` or `bundle`."""

    precision: str = "fp16"
    model: str | None = None
    checkpoint: Path | None = None
    onnx: Path | None = None
    bundle: Path | None = None
    data: str | None = None
    split: str = "train"
    frames: int = 200
    scheme: str = "auto"
    max_drop: float = 0.3
    exclude: tuple[str, ...] = ()
    save_ranges: bool = False
    target: str = "auto"
    out: Path | None = None
    input_size: tuple[Size, Size, Size] | None = None
    batch: tuple[int, int, int] = (1, 1, 1)
    workspace_mb: int = 1024
    optimisation_level: int | None = None
    hardware_compatible: bool = False
    compute_capability: tuple[str, ...] = ()
    depthwise_int8: bool | None = None
    preflight: bool | None = None
    weakly_typed: bool = False
    timing_cache: Path | None = None
    json: Path | None = None

    def __post_init__(self) -> None:
        sources = (self.model, self.checkpoint, self.onnx, self.bundle)
        if sum(source is not None for source in sources) > 1:
            raise UsageError("give one of --model, --checkpoint, --onnx and --bundle, not several")
        if self.bundle is not None and (self.data or self.out or self.exclude):
            raise UsageError("--bundle builds plans from what the bundle holds, and into it: leave "
                             "--data, --exclude and --out away")  # fmt: skip
        if self.save_ranges and self.data is None:
            raise UsageError("--save-ranges keeps ranges taken from frames: add --data SPEC")
        if not self.max_drop >= 0:
            raise UsageError(f"--max-drop: a limit is 0 points or more, got {self.max_drop}")
        if self.frames < 1 or self.workspace_mb < 1:
            raise UsageError("--frames and --workspace-mb must be at least 1")

    def plan_settings(self) -> BuildSettings:
        """What TensorRT's builder is told."""
        from export.plans.settings import BuildSettings

        return BuildSettings(
            self.precision, self.batch, self.input_size, self.workspace_mb,
            self.optimisation_level, self.hardware_compatible, self.compute_capability,
            self.weakly_typed, self.timing_cache,
        )  # fmt: skip

    def preflights(self) -> bool:
        """Whether each convolution is built alone before a plan: unless told otherwise where INT8
        is asked for of a TensorRT that was named, or of whichever works with the GPU that is here.
        """
        from engines.gpu_facts import probe_gpu

        if self.preflight is not None:
            return self.preflight
        named = self.target.startswith("tensorrt")
        wanted = self.precision in ("int8", "mixed") and (named or probe_gpu() is not None)
        if wanted and importlib.util.find_spec("onnx") is None:
            print("no pre-flight: the Python package onnx is not here", file=sys.stderr)
            return False
        return wanted


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
    source.add_argument("--checkpoint", type=Path, metavar="FILE", help="a .safetensors checkpoint")
    source.add_argument("--onnx", type=Path, metavar="FILE", help="an ONNX graph; needs no torch")
    source.add_argument(
        "--bundle", type=Path, metavar="DIR", help="build plans from what it holds, into it"
    )
    calibration = p.add_argument_group("calibration")
    calibration.add_argument(
        "--data", metavar="SPEC", help="real frames: images:DIR, folder:DIR or camvid:DIR"
    )
    calibration.add_argument("--split", default=default.split, metavar="NAME", help="of --data")
    calibration.add_argument(
        "--frames", type=int, default=default.frames, metavar="N", help="calibrate on N of them"
    )
    calibration.add_argument(
        "--scheme", default=default.scheme, metavar="SCHEME", type=scheme,
        help="auto tries them all on held-out frames; or one, e.g. percentile, mse+equalise+bias",
    )  # fmt: skip
    calibration.add_argument(
        "--exclude", action="append", default=[], metavar="LAYER",
        help="keep it in float where others are INT8; may be repeated (export/verify.py names it)",
    )  # fmt: skip
    calibration.add_argument(
        "--max-drop", type=float, default=default.max_drop, metavar="X",
        help="points of mIoU that a mixed graph may lose",
    )  # fmt: skip
    calibration.add_argument(
        "--save-ranges", action="store_true", help="also keep what was found beside the checkpoint"
    )
    engines = p.add_argument_group("engines")
    engines.add_argument("--target", default=default.target, choices=TARGETS, help="build these")
    engines.add_argument(
        "--out", type=Path, metavar="DIR", help="the bundle's folder (default: artifacts/NAME)"
    )
    engines.add_argument(
        "--input-size", type=sizes, metavar="HxW",
        help="of the model, in place of its own; MIN:OPT:MAX lets a TensorRT plan take a range",
    )  # fmt: skip
    _add_tensorrt(p.add_argument_group("TensorRT"), default)
    p.set_defaults(precision=default.precision)
    values = vars(p.parse_args(argv))
    return Options(**{**values, "exclude": tuple(values["exclude"])})


def _add_tensorrt(group: Any, default: Options) -> None:
    group.add_argument(
        "--workspace-mb", type=int, default=default.workspace_mb, metavar="N",
        help="scratch memory of a kernel",
    )  # fmt: skip
    group.add_argument(
        "--batch", type=batch, default=default.batch, metavar="MIN:OPT:MAX",
        help="frames of one run; N stands for 1:N:N (default: 1)",
    )  # fmt: skip
    group.add_argument(
        "--optimisation-level", type=int, choices=range(6), help="0 builds fast, 5 runs fast"
    )
    group.add_argument(
        "--hardware-compatible", action="store_true", help="for every GPU from Ampere on"
    )
    group.add_argument(
        "--compute-capability", type=capabilities, default=(), metavar="X.Y",
        help="for RTX, of the GPUs to build for: 8.9, 8.9,12.0 or current (default: all from 8.0)",
    )  # fmt: skip
    group.add_argument(
        "--depthwise-int8", action=argparse.BooleanOptionalAction,
        help="depthwise convolutions in INT8 (default: on TensorRT yes, on RTX no)",
    )  # fmt: skip
    group.add_argument(
        "--preflight", action=argparse.BooleanOptionalAction,
        help="build each convolution alone first (default: for INT8)",
    )  # fmt: skip
    group.add_argument(
        "--weakly-typed", action="store_true", help="let TensorRT 10 choose types by flags"
    )
    group.add_argument(
        "--timing-cache", type=Path, metavar="FILE", help="keep what builds measured"
    )


def batch(text: str) -> tuple[int, int, int]:
    """`8` is 1:8:8, from one frame to eight and best at eight; `1:4:8` is best at four.

    One frame must stay possible, as that is what a stream runs.
    """
    try:
        numbers = [int(part) for part in text.split(":")]
        least, best, most = numbers if len(numbers) > 1 else (1, *numbers * 2)
    except ValueError:
        least, best, most = 0, 0, 0
    if not 1 == least <= best <= most:
        raise argparse.ArgumentTypeError(f"{text!r} is not 1:OPT:MAX, e.g. 1:4:8")
    return least, best, most


def sizes(text: str) -> tuple[Size, Size, Size]:
    """`360x480`, height first; or least, the model's own and largest: `90x120:360x480:720x960`."""
    parts = [height_width(part) for part in text.split(":")]
    if len(parts) == 1:
        parts *= 3
    if len(parts) != 3 or not all(32 <= a <= b <= c for a, b, c in zip(*parts, strict=True)):
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither HxW nor MIN:OPT:MAX of them, from 32x32 on"
        )
    return parts[0], parts[1], parts[2]


def capabilities(text: str) -> tuple[str, ...]:
    """`8.9`, `8.6,8.9` or `current`."""
    names = tuple(text.split(","))
    if names != ("current",) and not all(re.fullmatch(r"\d+\.\d", name) for name in names):
        raise argparse.ArgumentTypeError(f"{text!r} is no compute capability, e.g. 8.9 or current")
    return names


def scheme(text: str) -> str:
    """`auto`, or a scheme as it is spelled canonically."""
    from calibration.scheme import Scheme

    return text if text == "auto" else str(Scheme.parse(text))


def run(options: Options) -> BuildResult:
    """Build the bundle, or the plans of one."""
    if options.bundle is not None:
        from export.rebuild import rebuild

        return rebuild(options, options.bundle)
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
