"""The build itself: source -> FP32 graph -> FP16 and Q/DQ graphs -> engines -> one bundle."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from calibration.calibrate import ranges_from_frames, shipped_ranges
from calibration.frames import RECOMMENDED, CalibrationFrames
from engines.bundle import BundleWriter, Golden, writing_bundle
from engines.labels import upsample_argmax
from engines.manifest import Manifest
from engines.onnxruntime_session import OnnxRuntimeSession
from engines.ranges import Ranges
from engines.spec import ModelSpec
from export.source import Origin, find_origin, load_source
from export.targets import Build, EngineRow, build_engines, require_library

if TYPE_CHECKING:
    import onnx

    from export.build_engine import Options

Frames = list[NDArray[np.uint8]]  # each [H, W, 3]
Masks = list[NDArray[np.uint8]]  # each [H, W]

GOLDEN_INDICES = (0, 150, 300, 450)  # five seconds apart on the procedural street
TOOLS = ("torch", "onnx", "onnxsim", "onnxscript", "onnxruntime", "tensorrt-rtx-cu13", "tensorrt")
DOUBTFUL = 0.9  # share of pixels with FP32's label below which an engine needs a closer look


@dataclass(frozen=True)
class BuildResult:
    """What `build_engine.py` prints and writes as JSON."""

    bundle: Path
    precision: str
    engines: list[EngineRow]
    parity: dict[str, float] | None
    golden_agreement: dict[str, float]
    seconds: float

    def lines(self) -> list[str]:
        """For people: each engine, what INT8 did to the golden masks, the next command."""
        text = [f"{self.bundle}  ({self.seconds:.0f} s)"]
        for row in self.engines:
            if row.built and row.bytes is not None:
                size = f"{row.bytes / 1e6:.1f} MB"
                extra = f"  {row.layers}" if row.layers else ""
                text.append(f"  {row.target:13}{row.precision}  {row.file}  {size}{extra}")
            else:
                text.append(f"  {row.target:13}not built: {row.reason}")
        shares = "  ".join(f"{k} {v:.2%}" for k, v in self.golden_agreement.items())
        text.append(f"  golden frames, pixels with FP32's label: {shares}")
        for name, share in self.golden_agreement.items():
            if share < DOUBTFUL:
                text.append(f"  WARNING: {name} changes {1 - share:.0%} of the pixels: measure it")
        text.append(f"next: python runtime/stream.py --bundle {self.bundle} --camera street:")
        return text


def build(options: Options) -> BuildResult:
    """Build the bundle that the options describe; replaces an older one as a whole."""
    started = time.perf_counter()
    origin = find_origin(options)
    out = options.out or Path("artifacts", origin.spec.name)
    # What can be known to fail is found out before minutes of work, not after.
    require_library(options.target)
    frames = _calibration_frames(options, origin.spec)
    shipped = None if frames is not None else _shipped_ranges(options, origin)
    golden = golden_frames(origin.spec)
    with writing_bundle(out) as writer:
        tell(f"reading {origin.path}")
        source = load_source(origin, golden)
        if source.parity is not None:
            name = f"checkpoint{origin.path.suffix}"
            writer.add_bytes(name, origin.path.read_bytes(), "checkpoint")
        add_graph(writer, "fp32.onnx", source.graph, precision="fp32")
        tell("FP16 graph")
        _add_half(writer, source.graph)
        ranges = shipped
        if frames is not None:
            ranges = _calibrate(options, origin, source.graph, frames, out / "ranges.json")
        if ranges is not None:
            tell("INT8 graphs")
            _add_int8(writer, source.graph, ranges)
        agreement = _add_golden(writer, origin.spec, golden)
        tell(f"{options.precision} engines")
        plan = Build(writer, origin.spec, options.precision, options.workspace_mb)
        engines = build_engines(plan, options.target)
        writer.finish(_manifest(options, origin, ranges, agreement))
    if options.save_ranges and ranges is not None:
        ranges.save(origin.ranges)
    parity = None if source.parity is None else source.parity.to_json()
    seconds = time.perf_counter() - started
    return BuildResult(out, options.precision, engines, parity, agreement, seconds)


def tell(text: str) -> None:
    """One line of progress on stderr."""
    print(f"  {text} ...", file=sys.stderr, flush=True)


def golden_frames(spec: ModelSpec) -> Frames:
    """The street frames that every bundle carries, at the model's size."""
    from scenes.street import StreetCamera

    camera = StreetCamera(size=spec.input_size, seed=0)
    return [camera.scene(index).frame for index in GOLDEN_INDICES]


def _calibration_frames(options: Options, spec: ModelSpec) -> CalibrationFrames | None:
    if options.data is None:
        return None
    frames = CalibrationFrames.open(options.data, options.split, spec.input_size, options.frames)
    if len(frames) < RECOMMENDED:
        tell(f"WARNING: only {len(frames)} calibration frames, better {RECOMMENDED} or more")
    return frames


def _shipped_ranges(options: Options, origin: Origin) -> Ranges | None:
    """The ranges beside the source file; None only if INT8 is not asked for."""
    if options.precision != "int8" and not origin.ranges.is_file():
        tell("no calibration data: the INT8 graphs are left out (give --data to have them)")
        return None
    return shipped_ranges(origin.ranges, origin.digest, origin.spec)


def _calibrate(
    options: Options,
    origin: Origin,
    graph: onnx.ModelProto,
    frames: CalibrationFrames,
    cache: Path,
) -> Ranges:
    tell(f"calibrating on {len(frames)} frames of {options.data}")
    ranges, cached = ranges_from_frames(
        graph, origin.digest, origin.spec, frames, options.method, cache
    )
    if cached:
        tell("the same ranges are in the bundle already: taken from there")
    return ranges


def _add_half(writer: BundleWriter, graph: onnx.ModelProto) -> None:
    from export.half import to_half

    add_graph(writer, "fp16.onnx", to_half(graph), precision="fp16")


def _add_int8(writer: BundleWriter, graph: onnx.ModelProto, ranges: Ranges) -> None:
    from calibration.qdq import quantize
    from calibration.validator import validate_s8
    from export.half import to_half

    facts = {"precision": "int8"}
    cpu = quantize(graph, ranges.tensors, "u8")
    add_graph(writer, "int8_u8.onnx", cpu, flavour="u8", **facts)
    for name, target in (("int8_s8.onnx", None), ("int8_s8_rtx.onnx", "tensorrt-rtx")):
        typed = to_half(quantize(graph, ranges.tensors, "s8", target=target))
        validate_s8(typed)
        add_graph(writer, name, typed, flavour="s8", target=target, **facts)
    ranges.save(writer.path("ranges.json"))
    writer.add("ranges.json", "ranges")


def add_graph(writer: BundleWriter, name: str, graph: onnx.ModelProto, **facts: str | None) -> None:
    """Serialise a graph into the bundle."""
    writer.add_bytes(name, graph.SerializeToString(deterministic=True), "onnx", **facts)


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
    options: Options, origin: Origin, ranges: Ranges | None, agreement: dict[str, float]
) -> Manifest:
    provenance: dict[str, Any] = {
        "source": origin.path.name,
        "source_sha256": origin.digest,
        "calibration": None
        if ranges is None
        else {
            "frames": ranges.frame_count,
            "method": ranges.key.method,
            "digest": ranges.key.frames,
        },
        "golden_agreement": agreement,
        "platform": f"{platform.system()}-{platform.machine()}".lower(),
        "python": platform.python_version(),
    }
    return Manifest(origin.spec, options.precision, (), provenance, _tools())


def _tools() -> dict[str, str]:
    versions = {}
    for name in TOOLS:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
