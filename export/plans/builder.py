"""Builds a TensorRT plan from a typed ONNX graph: one path for `tensorrt` and `tensorrt_rtx`.

Networks are strongly typed: precision is what the graph's types and Q/DQ pairs say, so the same
graph serves TensorRT 10.3 to 11.x and TensorRT for RTX, and no builder flag can change it. The one
way around, for 10.x, is `export.plans.weak`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from engines.failures import Refused
from engines.tensorrt_runtime import open_part
from export.plans.cache import saved_timings
from export.plans.explained import explain
from export.plans.layers import FusedLayer, parse_layers, precisions
from export.plans.library import title
from export.plans.log import new_log
from export.plans.profiles import add_profile
from export.plans.progress import interrupts_held, watching
from export.plans.settings import BuildSettings, compute_capability, require_supported
from export.plans.weak import allow_precision, network_flags


@dataclass(frozen=True)
class Plan:
    """A serialised engine and what is known about it.

    Args:
        data: The plan.
        library: The Python module that built it.
        version: The library's.
        seconds: What the build took.
        layers: The fused layers in the order they run; empty where the library does not tell.
        warnings: What the builder warned of -> how often, the most frequent first.
    """

    data: bytes
    library: str
    version: str
    seconds: float
    layers: tuple[FusedLayer, ...]
    warnings: dict[str, int]

    @property
    def convolutions(self) -> dict[str, int]:
        """Precision -> how many convolutions run in it."""
        return precisions(self.layers)


def build_plan(trt: ModuleType, graph: bytes, settings: BuildSettings, quiet: bool = False) -> Plan:
    """Build a plan from ONNX bytes; progress is shown on stderr unless `quiet`.

    A graph that TensorRT does not parse or cannot build raises `Refused` with the cause and a way
    out where it is a known one; a setting that this library does not have raises `UsageError`,
    and one that does not start `DeviceMissing`. Ctrl-C ends the build with its next step.
    """
    require_supported(settings, trt)
    with interrupts_held() as stop:
        return _built(trt, graph, settings, quiet, stop)


def _built(
    trt: ModuleType, graph: bytes, settings: BuildSettings, quiet: bool, stop: Callable[[], bool]
) -> Plan:
    started = time.perf_counter()
    log = new_log(trt)
    builder = open_part(trt, "Builder", log)
    network = _parsed(trt, builder, graph, settings, log)
    config = _config(trt, builder, settings)
    add_profile(builder, network, config, settings)
    with saved_timings(trt, config, settings.timing_cache), watching(trt, config, quiet, stop):
        plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise Refused(f"{title(trt)} could not build: {explain(log.errors)}")
    data = bytes(plan)
    seconds = time.perf_counter() - started
    layers = parse_layers(log.layers or _inspected(trt, data, log))
    return Plan(data, trt.__name__, trt.__version__, seconds, layers, log.warned())


def _parsed(trt: ModuleType, builder: Any, graph: bytes, settings: BuildSettings, log: Any) -> Any:
    network = builder.create_network(network_flags(trt, settings))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(graph):
        errors = [parser.get_error(index).desc() for index in range(parser.num_errors)]
        raise Refused(f"{title(trt)} does not parse the graph: {explain(errors)}")
    return network


def _config(trt: ModuleType, builder: Any, settings: BuildSettings) -> Any:
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # names and types of all layers
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, settings.workspace_mb << 20)
    if settings.optimisation_level is not None:
        config.builder_optimization_level = settings.optimisation_level
    if settings.hardware_compatible:
        config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS
    if settings.compute_capabilities:
        config.num_compute_capabilities = len(settings.compute_capabilities)
        for index, name in enumerate(settings.compute_capabilities):
            if not config.set_compute_capability(compute_capability(trt, name), index):
                names = ", ".join(settings.compute_capabilities)
                raise Refused(f"{title(trt)} does not build for {names} in one plan")
    allow_precision(trt, config, settings)
    return config


def _inspected(trt: ModuleType, plan: bytes, log: Any) -> str:
    """The layers as the engine itself lists them, where the log did not and a GPU is here.

    TensorRT 10's log has another form of them; its inspector has this one.
    """
    engine = open_part(trt, "Runtime", log).deserialize_cuda_engine(plan)
    if engine is None:
        return ""
    inspector = engine.create_engine_inspector()
    return str(inspector.get_engine_information(trt.LayerInformationFormat.ONELINE))
