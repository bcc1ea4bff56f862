"""Before a plan takes minutes: each distinct convolution of the graph built alone.

Depthwise and atrous convolutions are what TensorRT has no INT8 kernel for on some GPUs, and says so
at the end of a long build (NVIDIA/TensorRT#4060, #3813); others it builds and runs in float without
a word. Both are found here in seconds, and the nodes concerned are kept in FP16, by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from types import ModuleType

from onnx import ModelProto

from engines.failures import Refused
from export.plans.builder import build_plan
from export.plans.convolutions import Convolution, distinct, one_layer
from export.plans.settings import BuildSettings

BUILT, NO_KERNEL, RUNS_FLOAT = "built", "no kernel", "runs float"

Timer = Callable[[bytes], float | None]  # a plan -> milliseconds of one run, if it runs here


@dataclass(frozen=True)
class Trial:
    """How one convolution fared in one precision.

    `verdict` is built, no kernel (with TensorRT's `reason`) or runs float: built, but not in INT8.
    """

    verdict: str
    milliseconds: float | None = None
    reason: str | None = None

    def __str__(self) -> str:
        time = f" {self.milliseconds:.3f} ms" if self.milliseconds is not None else ""
        return self.verdict + time


@dataclass(frozen=True)
class PreflightRow:
    """One distinct convolution, the nodes that are it, and how it fared; `int8` None: not tried."""

    convolution: Convolution
    nodes: tuple[str, ...]
    fp16: Trial
    int8: Trial | None

    def to_json(self) -> dict[str, object]:
        """The row by name."""
        trials = {"fp16": self.fp16, "int8": self.int8}
        return {
            "convolution": str(self.convolution),
            "nodes": list(self.nodes),
            **{name: None if trial is None else vars(trial) for name, trial in trials.items()},
        }


@dataclass(frozen=True)
class Preflight:
    """The whole table."""

    rows: tuple[PreflightRow, ...]

    def unfit(self) -> dict[str, str]:
        """Node -> why it must not be quantized here, in graph order."""
        return {
            node: row.int8.verdict
            for row in self.rows
            if row.int8 is not None and row.int8.verdict != BUILT and row.fp16.verdict == BUILT
            for node in row.nodes
        }

    def lines(self) -> Iterator[str]:
        """The table for people."""
        yield f"pre-flight: {len(self.rows)} distinct convolutions, each built alone"
        yield f"  {'convolution':48}{'nodes':>6}  {'FP16':18}INT8"
        for row in self.rows:
            int8 = "" if row.int8 is None else str(row.int8)
            yield f"  {row.convolution!s:48}{len(row.nodes):6}  {row.fp16!s:18}{int8}".rstrip()


def preflight(
    trt: ModuleType, graph: ModelProto, settings: BuildSettings, timer: Timer | None = None
) -> Preflight:
    """Build every distinct convolution of a graph in FP16, and in INT8 if `settings` say so.

    Memory, optimisation and typing are those of the full build; `timer`, where a GPU is, runs each
    plan.
    """
    from tqdm import tqdm

    alone = replace(settings, batch=(1, 1, 1), size=None)
    found = distinct(graph)
    rows = []
    for convolution in tqdm(found, "pre-flight", unit="convolution", disable=None):
        fp16, int8 = (
            _try(trt, convolution, replace(alone, precision=precision), timer)
            if precision == "fp16" or settings.int8
            else None
            for precision in ("fp16", "int8")
        )
        assert fp16 is not None
        rows.append(PreflightRow(convolution, tuple(found[convolution]), fp16, int8))
    return Preflight(tuple(rows))


def _try(
    trt: ModuleType, convolution: Convolution, settings: BuildSettings, timer: Timer | None
) -> Trial:
    graph = one_layer(convolution, settings.int8, half=not settings.weakly_typed)
    try:
        plan = build_plan(trt, graph, settings, quiet=True)
    except Refused as error:
        return Trial(NO_KERNEL, reason=str(error))
    counts = plan.convolutions
    # No list of layers, no judgement: then the plan's own layers are all that can tell.
    is_float = settings.int8 and bool(counts) and "INT8" not in counts
    milliseconds = None if timer is None else timer(plan.data)
    return Trial(RUNS_FLOAT if is_float else BUILT, milliseconds)
