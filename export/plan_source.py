"""Which ONNX graph a plan is built from: one of the bundle's, or one made for this plan alone."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Any

from engines.failures import DeviceMissing, Refused
from engines.manifest import BundleFile
from export.engine_row import Build
from export.plans.settings import DEFAULTS

if TYPE_CHECKING:
    from onnx import ModelProto

    from export.plans.preflight import Preflight

DEPTHWISE_FLOAT = "tensorrt-rtx"  # the target whose graph keeps depthwise convolutions in float
KIND = "plan-source"
MIXED = 0.02  # of the logits' spread


@dataclass(frozen=True)
class PlanSource:
    """A graph in the bundle, what of it this machine cannot run in INT8, and the table behind."""

    file: BundleFile
    kept_float: dict[str, str] = field(default_factory=dict)
    table: Preflight | None = None


def find_source(build: Build, target: str, trt: ModuleType) -> PlanSource:
    """The graph for a target; what has to be made is added to the bundle."""
    depthwise = build.depthwise_int8
    if depthwise is None:
        depthwise = DEFAULTS[target].depthwise_int8
    stored = _stored(build, depthwise)
    table = _examined(build, stored, trt) if build.preflight else None
    kept = {} if table is None else _kept(build, stored, table)
    settings = build.settings
    if not (kept or (settings.weakly_typed and settings.int8) or _opens(build)):
        return PlanSource(stored, kept, table)
    _require_onnx("a plan for several frames or sizes, or with layers kept in FP16,")
    if kept or (settings.weakly_typed and settings.int8):
        graph = requantized(build, stored, tuple(kept), depthwise)
    else:
        graph = _load(build, stored)
    if _opens(build):
        graph = _opened(build, graph)
    facts = {"precision": build.precision, "flavour": stored.flavour, "target": target}
    data = graph.SerializeToString(deterministic=True)
    name = f"{target}.{build.precision}.onnx"
    return PlanSource(build.writer.add_bytes(name, data, KIND, **facts), kept, table)


def requantized(
    build: Build, stored: BundleFile, kept: tuple[str, ...], depthwise_int8: bool
) -> ModelProto:
    """The `stored` INT8 graph once more from the bundle's own FP32 graph and ranges, with the nodes
    of `kept` in float, too; typed FP16, or FP32 for a weakly typed network.

    What the stored one keeps in float stays there: --exclude and mixed precision have their reason.
    """
    import onnx

    from calibration.graphs.quantized import quantized
    from calibration.graphs.validator import validate_s8
    from engines.ranges import Ranges
    from export.half import to_half

    writer = build.writer
    graph = onnx.load_model_from_string(writer.read(writer.find("onnx", precision="fp32")))
    ranges = Ranges.load(writer.folder / writer.find("ranges").name)
    target = None if depthwise_int8 else DEPTHWISE_FLOAT
    int8 = {*quantized_in(build, stored)} - {*kept}
    names = (node.name for node in graph.graph.node if node.op_type == "Conv")
    exclude = [name for name in names if name not in int8]
    result = quantized(graph, ranges, "s8", exclude, target)
    if not build.settings.weakly_typed:
        result = to_half(result)
    validate_s8(result)
    return result


def _stored(build: Build, depthwise_int8: bool) -> BundleFile:
    """The bundle's graph that is nearest to what the plan needs."""
    if build.settings.weakly_typed and not build.settings.int8:
        return build.writer.find("onnx", precision="fp32", flavour=None, target=None)
    flavour = "s8" if build.settings.int8 else None
    facts = {"precision": build.precision, "flavour": flavour}
    if flavour is not None and not depthwise_int8:
        return build.writer.find("onnx", target=DEPTHWISE_FLOAT, **facts)
    return build.writer.find("onnx", target=None, **facts)


def _examined(build: Build, stored: BundleFile, trt: ModuleType) -> Preflight:
    """The pre-flight of a graph, timed where there is a GPU, shown on stderr."""
    _require_onnx("the pre-flight")
    from engines.gpu_facts import probe_gpu
    from export.plans.preflight import preflight
    from export.plans.timing import plan_timer

    timing: Any = contextlib.nullcontext() if probe_gpu() is None else plan_timer(trt)
    with timing as timer:
        table = preflight(trt, _load(build, stored), build.settings, timer)
    print("\n".join(table.lines()), file=sys.stderr)
    return table


def _kept(build: Build, stored: BundleFile, table: Preflight) -> dict[str, str]:
    """Node -> verdict, of those nodes that the graph quantizes and the machine cannot."""
    quantized = quantized_in(build, stored)
    return {node: why for node, why in table.unfit().items() if node in quantized}


def quantized_in(build: Build, file: BundleFile) -> list[str]:
    """The convolutions that a graph of the bundle quantizes, in graph order."""
    from calibration.graphs.wiring import quantized_convolutions

    return quantized_convolutions(_load(build, file))


def _opens(build: Build) -> bool:
    return build.settings.dynamic_batch or build.settings.dynamic_size


def _opened(build: Build, graph: ModelProto) -> ModelProto:
    """The graph with open dimensions; its rows must be what each frame gives alone."""
    from export.dynamic import opened

    result = opened(graph, build.settings.dynamic_batch, build.settings.dynamic_size)
    if build.settings.dynamic_batch:
        _require_rows(result, build)
    return result


def _require_rows(graph: ModelProto, build: Build) -> None:
    """Raise `Refused` if a frame's logits depend on the other frame of its batch.

    One is dark, the other bright. Not bit for bit: sums in another order may flip a code of INT8
    here and there, which is 0.1 % of the logits' spread; mixed frames differ by far more.
    """
    import numpy as np

    from engines.onnxruntime_session import load_graph

    shape = (2, *build.spec.input_size, 3)
    frames = np.random.default_rng(0).integers(0, 128, shape, dtype=np.uint8)
    frames[1] += 128
    session = load_graph(graph.SerializeToString(), "opened")
    both, *rows = (
        session.run(None, {"frames": part})[0] for part in (frames, frames[:1], frames[1:])
    )
    alone = np.concatenate(rows)
    if not np.abs(both - alone).mean() <= MIXED * alone.std():
        raise Refused("this graph mixes the frames of a batch: only --batch 1 is possible with it")


def _load(build: Build, file: BundleFile) -> ModelProto:
    import onnx

    return onnx.load_model_from_string(build.writer.read(file))


def has_onnx() -> bool:
    """Whether graphs can be looked into; a device need not."""
    return importlib.util.find_spec("onnx") is not None


def _require_onnx(what: str) -> None:
    if not has_onnx():
        raise DeviceMissing(
            f"{what} needs the Python package onnx, which is not here: pip install onnx, or build "
            "with --no-preflight and --batch 1"
        )
