"""A bundle as a model in Triton Inference Server's repository: files, config.pbtxt, warm-up frame.

The onnxruntime and tensorrt backends answer frames of the model's size with logits; the python one
answers frames of any size with labels, CRF included, and needs this package in the server's image.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from engines.command import parser, run_command
from engines.failures import Refused, UsageError

if TYPE_CHECKING:
    from engines.bundle import Bundle
    from export.triton_config import TritonConfig

BACKENDS = ("onnxruntime", "tensorrt", "python")
PRECISIONS = ("auto", "fp32", "fp16", "int8", "mixed")
DEVICES = ("auto", "cpu", "gpu")
CRF_MODES = ("off", "fast", "exact")
QUANTISED = ("int8", "mixed")


@dataclass(frozen=True)
class Options:
    """Which model, for which backend."""

    bundle: Path = Path("artifacts/camvid-mobilenetv2")
    out: Path = Path("artifacts/triton")
    backend: str = "onnxruntime"
    precision: str = "auto"
    name: str | None = None
    version: int = 1
    max_batch: int = 1
    device: str = "auto"
    instances: int = 1
    crf: str = "fast"
    json: Path | None = None

    def __post_init__(self) -> None:
        if min(self.version, self.max_batch, self.instances) < 1:
            raise UsageError("--version, --max-batch and --instances must be at least 1")
        if self.max_batch > 1 and self.backend == "tensorrt":
            raise UsageError(
                "--max-batch: a plan has the batch that it was built for (build_engine.py --batch)"
            )
        if self.name is not None and not re.fullmatch(r"\w[\w.-]{0,99}", self.name):
            raise UsageError(f"--name {self.name!r}: letters, digits, . _ and - only")


@dataclass(frozen=True)
class Content:
    """A model's configuration, and what writes its version folder."""

    config: TritonConfig
    precision: str
    write: Callable[[Path], None]


@dataclass(frozen=True)
class Result:
    """What was written."""

    repository: Path
    model: Path
    backend: str
    precision: str
    max_batch_size: int
    input_dims: tuple[int, ...]
    output_dims: tuple[int, ...]
    needs: str


def parse(argv: list[str] | None) -> Options:
    """Read the command line."""
    default = Options()
    p = parser(__doc__, "python export/triton_repository.py --bundle DIR --out models")
    p.add_argument("--bundle", type=Path, default=default.bundle, metavar="DIR", help="the model")
    p.add_argument("--out", type=Path, default=default.out, metavar="DIR", help="the repository")
    p.add_argument("--backend", choices=BACKENDS, default=default.backend, help="of Triton")
    p.add_argument(
        "--precision", choices=PRECISIONS, default=default.precision, help="of the engine"
    )
    p.add_argument("--name", metavar="NAME", help="of the model (default: the bundle's)")
    p.add_argument("--version", type=int, default=default.version, metavar="N", help="of the model")
    p.add_argument(
        "--max-batch", type=int, default=default.max_batch, metavar="N",
        help="take up to N frames at once; onnxruntime's server also puts those of several clients "
        "into one run",
    )  # fmt: skip
    p.add_argument("--device", choices=DEVICES, default=default.device, help="where it runs")
    p.add_argument(
        "--instances", type=int, default=default.instances, metavar="N", help="engines at a time"
    )
    p.add_argument("--crf", choices=CRF_MODES, default=default.crf, help="of the python backend")
    return Options(**vars(p.parse_args(argv)))


def run(options: Options) -> Result:
    """Write the model's folder as a whole; an older version of it is replaced."""
    from engines.atomic import replacing_folder
    from engines.bundle import Bundle
    from export.triton_config import LABELS, WARM_UP

    bundle = Bundle.open(options.bundle)
    makers = {"onnxruntime": of_graph, "tensorrt": of_plan, "python": of_bundle}
    content = makers[options.backend](bundle, options)
    config = content.config
    text = config.text()
    golden = bundle.golden()
    if not golden:
        raise Refused(f"{bundle.root} has no golden frame to warm up with: build it again")
    model = options.out / config.name
    if model.exists() and not (model / "config.pbtxt").is_file():
        raise Refused(f"{model} is no model of Triton's: give --out or --name another")
    with replacing_folder(model) as folder:
        for name in (str(options.version), "warmup"):
            (folder / name).mkdir()
        content.write(folder / str(options.version))
        (folder / "warmup" / WARM_UP).write_bytes(golden[0].frame.tobytes())
        (folder / LABELS).write_text("\n".join(bundle.spec.classes) + "\n")
        (folder / "config.pbtxt").write_text(text)
    return Result(
        options.out, model, options.backend, content.precision, config.max_batch,
        config.frames.dims, config.result.dims, needs(config),
    )  # fmt: skip


def of_graph(bundle: Bundle, options: Options) -> Content:
    """An ONNX graph: FP32 or FP16 on any device, INT8 on the CPU."""
    import onnx

    from export.dynamic import opened
    from export.triton_config import logits_config

    precision = chosen(bundle, options, "cpu")
    device = options.device
    if precision in QUANTISED:
        if device == "gpu":
            raise UsageError(
                f"onnxruntime's {precision} graph is for the CPU: with --device gpu use fp16, or "
                "--backend tensorrt"
            )
        device = "cpu"
    file = bundle.graph(precision)
    graph = bundle.read(file)
    if options.max_batch > 1:
        model = opened(onnx.load_from_string(graph), batch=True)
        graph = model.SerializeToString(deterministic=True)
    config = logits_config(
        bundle.spec, "onnxruntime", options.name or bundle.spec.name,
        options.max_batch if options.max_batch > 1 else 0, device, options.instances,
        {"precision": precision, "source_sha256": file.sha256},
    )  # fmt: skip
    return Content(config, precision, lambda folder: write(folder / "model.onnx", graph))


def of_plan(bundle: Bundle, options: Options) -> Content:
    """A plan of TensorRT; one of TensorRT for RTX is refused, as Triton has no backend for it."""
    from engines.plan_check import checked_plan
    from engines.plan_sidecar import PlanSidecar
    from export.triton_config import logits_config

    if options.device == "cpu":
        raise UsageError("--device cpu: a TensorRT plan runs on a GPU")
    precision = chosen(bundle, options, "tensorrt")
    facts = {"target": "tensorrt", "precision": precision}
    stored = bundle.manifest.find("sidecar", **facts)
    if stored is None:
        raise Refused(
            f"{bundle.root} has no {precision} plan of TensorRT, and Triton runs no other: python "
            f"export/build_engine.py --{precision} --bundle {bundle.root} --target tensorrt, on "
            "the GPU that will serve; or --backend onnxruntime"
        )
    # Built for the machine that serves, not for this one: only the library is checked here.
    built = PlanSidecar.parse(bundle.read(stored)).environment
    file, sidecar = checked_plan(bundle, "tensorrt", precision, replace(built, library="tensorrt"))
    plan = bundle.read(file)
    most = sidecar.batch[2]
    config = logits_config(
        bundle.spec, "tensorrt", options.name or bundle.spec.name, most if most > 1 else 0, "gpu",
        options.instances,
        {
            "precision": precision,
            "tensorrt": built.version or "unknown",
            "compute_capability": ", ".join(sidecar.compute_capabilities),
            "built_on": built.gpu or "unknown",
            "source_sha256": file.sha256,
        },
        dynamic_size=sidecar.size[0] != sidecar.size[2],
    )  # fmt: skip
    return Content(config, precision, lambda folder: write(folder / "model.plan", plan))


def of_bundle(bundle: Bundle, options: Options) -> Content:
    """The whole bundle and `triton_model.py`, which runs it as the stream does."""
    from export.triton_config import labels_config

    target = "tensorrt" if options.device == "gpu" else "cpu"
    precision = chosen(bundle, options, target)
    parameters = {"precision": precision, "target": target, "crf": options.crf}
    config = labels_config(
        bundle.spec, options.name or bundle.spec.name,
        options.max_batch if options.max_batch > 1 else 0,
        "gpu" if target == "tensorrt" else "cpu", options.instances, parameters,
    )  # fmt: skip

    def copy(folder: Path) -> None:
        from engines.manifest import NAME

        write(folder / "model.py", Path(__file__).with_name("triton_model.py").read_bytes())
        for file in bundle.manifest.files:
            write(folder / "bundle" / file.name, bundle.read(file))
        shutil.copyfile(bundle.root / NAME, folder / "bundle" / NAME)

    return Content(config, precision, copy)


def chosen(bundle: Bundle, options: Options, target: str) -> str:
    """The precision that was asked for, or the stream's choice for the target."""
    if options.precision != "auto":
        return options.precision
    return bundle.choose_precision(target)[0]


def write(path: Path, data: bytes) -> None:
    """Write a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def needs(config: TritonConfig) -> str:
    """What the server must have."""
    if config.backend == "tensorrt":
        told = config.parameters
        return f"TensorRT {told['tensorrt']} exactly, on {told['built_on']}"
    if config.backend == "python":
        return "deeplab-edge installed in the server's Python"
    return "onnxruntime's backend"


def show(result: Result) -> None:
    """Print what was written, and how to serve it."""
    batch = f"batches up to {result.max_batch_size}" if result.max_batch_size else "one frame"
    print(f"{result.model}  {result.backend}, {result.precision}, {batch}")
    print(f"  frames {list(result.input_dims)} -> {list(result.output_dims)}")
    print(f"  the server needs {result.needs}")
    print(f"next: tritonserver --model-repository={result.repository.absolute()}")


def main(argv: list[str] | None = None) -> int:
    """Command line entry point; returns the exit code."""
    return run_command(argv, parse, run, show)


if __name__ == "__main__":
    raise SystemExit(main())
