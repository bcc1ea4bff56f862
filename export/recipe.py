"""The build itself: source -> FP32 graph -> FP16 and Q/DQ graphs -> engines -> one bundle."""

from __future__ import annotations

import importlib.metadata
import platform
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from engines.bundle import BundleWriter, Golden, writing_bundle
from engines.labels import upsample_argmax
from engines.manifest import Manifest
from engines.onnxruntime_session import OnnxRuntimeSession
from engines.spec import ModelSpec
from export.calibrated import Calibrated
from export.calibrating import Frames as CalibrationData
from export.calibrating import calibrate, open_frames, shipped
from export.engine_row import Build, BuildResult
from export.graphs import add_graph, add_int8, add_mixed, require_nodes
from export.half import largest_activation, to_half
from export.mixing import search_mixed
from export.progress import tell
from export.source import Origin, Source, export_checkpoint, find_origin, read_graph
from export.targets import build_engines, require_library

if TYPE_CHECKING:
    import onnx

    from export.build_engine import Options

Frames = list[NDArray[np.uint8]]  # each [H, W, 3]
Masks = list[NDArray[np.uint8]]  # each [H, W]

GOLDEN_INDICES = (0, 150, 300, 450)  # five seconds apart on the procedural street
TOOLS = ("torch", "onnx", "onnxsim", "onnxscript", "onnxruntime", "tensorrt-rtx-cu13", "tensorrt")


def build(options: Options) -> BuildResult:
    """Build the bundle that the options describe; replaces an older one as a whole."""
    started = time.perf_counter()
    origin = find_origin(options)
    graph = read_graph(origin)  # before all else: it may be hostile
    out = options.out or Path("artifacts", origin.spec.name)
    # What can be known to fail is found out before minutes of work, not after.
    require_library(options.target, options.plan_settings())
    frames = open_frames(options, origin)
    known = shipped(options, origin) if frames is None else None
    golden = golden_frames(origin.spec)
    with writing_bundle(out) as writer:
        tell(f"reading {origin.path}")
        source = export_checkpoint(origin, golden) if graph is None else Source(graph, None)
        require_nodes(source.graph, options.exclude)
        if source.parity is not None:
            name = f"checkpoint{origin.path.suffix}"
            writer.add_bytes(name, origin.path.read_bytes(), "checkpoint")
        add_graph(writer, "fp32.onnx", source.graph, precision="fp32")
        tell("FP16 graph")
        add_graph(writer, "fp16.onnx", to_half(source.graph), precision="fp16")
        found = known
        if frames is not None:
            found = _calibrated(options, origin, source.graph, frames, out)
        mixed = {}
        if found is not None:
            tell("INT8 graphs")
            add_int8(writer, source.graph, found, options.exclude)
            required = options.precision == "mixed"
            mixed = add_mixed(
                writer, source.graph, found, options.max_drop, required, options.exclude
            )
        agreement = _add_golden(writer, origin.spec, golden)
        tell(f"{options.precision} engines")
        engines = build_engines(
            Build(
                writer, origin.spec, options.precision, options.plan_settings(), out,
                options.depthwise_int8, options.preflights(),
            ),
            options.target,
        )  # fmt: skip
        writer.finish(_manifest(options, origin, found, mixed, agreement))
    if options.save_ranges and found is not None:
        found.save(origin.path)
    parity = None if source.parity is None else source.parity.to_json()
    seconds = time.perf_counter() - started
    return BuildResult(out, options.precision, engines, parity, agreement, seconds)


def golden_frames(spec: ModelSpec) -> Frames:
    """The street frames that every bundle carries, at the model's size."""
    from scenes.street import StreetCamera

    camera = StreetCamera(size=spec.input_size, seed=0)
    return [camera.scene(index).frame for index in GOLDEN_INDICES]


def _calibrated(
    options: Options,
    origin: Origin,
    graph: onnx.ModelProto,
    frames: CalibrationData,
    out: Path,
) -> Calibrated:
    """What `frames` say about INT8, and where it is asked for, about mixed precision."""
    found = calibrate(options, origin, graph, frames, out)
    if options.precision != "mixed" or found.mixed:
        return found
    mixed = search_mixed(graph, found.ranges, origin.spec, frames.held_out, options.max_drop, out)
    return replace(found, mixed=mixed)


def _add_golden(writer: BundleWriter, spec: ModelSpec, frames: Frames) -> dict[str, float]:
    """Store the golden frames with FP32's labels; how far each other graph agrees with them."""
    graphs = [f for f in writer.files if f.kind == "onnx" and f.target is None]
    labels = {
        "_".join(fact for fact in (file.precision, file.flavour) if fact): _labels(
            writer.read(file), spec, frames
        )
        for file in graphs
    }
    truth = labels.pop("fp32")
    writer.add_golden([Golden(f, m) for f, m in zip(frames, truth, strict=True)])
    return {name: _agreement(masks, truth) for name, masks in labels.items()}


def _agreement(masks: Masks, truth: Masks) -> float:
    """The share of equal pixels."""
    return float(np.mean([np.mean(a == b) for a, b in zip(masks, truth, strict=True)]))


def _labels(graph: bytes, spec: ModelSpec, frames: Frames) -> Masks:
    with OnnxRuntimeSession(graph, spec, "golden") as session:
        logits = [session.run(frame[None])[0] for frame in frames]
    return [upsample_argmax(item, spec.input_size) for item in logits]


def _manifest(
    options: Options,
    origin: Origin,
    found: Calibrated | None,
    mixed: dict[str, Any],
    agreement: dict[str, float],
) -> Manifest:
    provenance: dict[str, Any] = {
        "source": origin.path.name,
        "source_sha256": origin.digest,
        "calibration": None if found is None else _calibration(found),
        "mixed": {"max_drop": options.max_drop, **mixed} if mixed else None,
        "excluded": list(options.exclude),
        "golden_agreement": agreement,
        "platform": f"{platform.system()}-{platform.machine()}".lower(),
        "python": platform.python_version(),
    }
    return Manifest(origin.spec, options.precision, (), provenance, _tools())


def _calibration(found: Calibrated) -> dict[str, Any]:
    """How the INT8 ranges came about; the largest activation is what FP16 has to hold (65504)."""
    tensor, magnitude = largest_activation(found.ranges.tensors)
    return {
        "frames": found.ranges.frame_count,
        "method": found.ranges.key.method,
        "digest": found.ranges.key.frames,
        "tried": [ranges.key.method for ranges in found.tries],
        "largest_activation": {"tensor": tensor, "magnitude": magnitude},
    }


def _tools() -> dict[str, str]:
    versions = {}
    for name in TOOLS:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
