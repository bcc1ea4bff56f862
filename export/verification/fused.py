"""Does a plan compute every convolution in the precision that its graph asks for?

TensorRT may fall back silently: a graph with one wrong scale builds, and its convolution runs in
float. TensorRT for RTX tells its fused layers while it builds, which needs no GPU. Two builds are
compared, as nothing promises that they choose alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType

from onnx import ModelProto, TensorProto

from calibration.graphs.wiring import Wiring, element_types
from engines.bundle import Bundle
from export.plans.builder import build_plan
from export.plans.layers import FusedLayer, node_precisions
from export.plans.settings import BuildSettings
from export.verification.graphs import Candidate

TYPES: dict[int, str] = {TensorProto.FLOAT16: "FP16", TensorProto.FLOAT: "FP32"}


@dataclass(frozen=True)
class Fallback:
    """A convolution that runs in another precision than its graph asks for."""

    layer: str
    asked: str
    runs: str


@dataclass(frozen=True)
class FusedRow:
    """One graph as TensorRT for RTX fuses it.

    `convolutions` counts by precision; `untold` are convolutions that the log does not name;
    `repeats` says whether a second build has the same layers in the same types.
    """

    precision: str
    library: str
    layers: int
    convolutions: dict[str, int]
    fallbacks: list[Fallback]
    untold: list[str]
    repeats: bool
    seconds: float


def asked(graph: ModelProto) -> dict[str, str]:
    """Convolution -> the precision that its inputs have: INT8 if both were just dequantized."""
    wiring, types = Wiring(graph), element_types(graph)
    return {
        node.name: "INT8"
        if all(map(wiring.dequantizer, node.input[:2]))
        else TYPES.get(types.get(node.input[0], 0), "?")
        for node in graph.graph.node
        if node.op_type == "Conv"
    }


def fused_row(bundle: Bundle, candidate: Candidate, trt: ModuleType) -> FusedRow:
    """Build twice, and read what the library says about its layers."""
    data = bundle.read(candidate.file)
    settings = BuildSettings(str(candidate.file.precision))
    first, second = (build_plan(trt, data, settings, quiet=True) for _ in range(2))
    return compared(
        candidate, f"{first.library} {first.version}", first.layers, second.layers, first.seconds
    )


def compared(
    candidate: Candidate,
    library: str,
    layers: tuple[FusedLayer, ...],
    again: tuple[FusedLayer, ...],
    seconds: float,
) -> FusedRow:
    """What two builds' layers say about one graph."""
    wanted = asked(candidate.graph)
    runs = node_precisions(layers, wanted)
    counts: dict[str, int] = {}
    for kind in runs.values():
        counts[kind] = counts.get(kind, 0) + 1
    return FusedRow(
        precision=candidate.name,
        library=library,
        layers=len(layers),
        convolutions=dict(sorted(counts.items())),
        fallbacks=[Fallback(n, wanted[n], kind) for n, kind in runs.items() if kind != wanted[n]],
        untold=[name for name in wanted if name not in runs],
        repeats=layers == again,
        seconds=seconds,
    )
