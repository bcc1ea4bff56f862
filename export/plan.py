"""Builds a TensorRT plan from a typed ONNX graph: one path for `tensorrt` and `tensorrt_rtx`.

Networks are strongly typed: precision is what the graph's types and Q/DQ pairs say, so the same
graph serves TensorRT 10.3 to 11.x and TensorRT for RTX, and no builder flag can change it.
Capabilities are probed by attribute, never by version.
"""

from __future__ import annotations

import importlib
import re
import time
from collections import Counter
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from engines.failures import DeviceMissing, Refused

LIBRARIES = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
REMEDIES = {
    "tensorrt": (
        "on a desktop GPU: pip install -e '.[tensorrt]'; on a Jetson it comes with JetPack: "
        "make the environment with python -m venv --system-site-packages"
    ),
    "tensorrt-rtx": "on x86-64 Linux: pip install -e '.[export]'; there is none for a Jetson",
}
# Precision of a fused layer as TensorRT names it in its log.
TYPE_NAMES = {"Int8": "INT8", "Half": "FP16", "Float": "FP32"}


@dataclass(frozen=True)
class Plan:
    """A serialised engine and what is known about it.

    `convolutions` counts the fused convolution layers by the precision they run in, read from the
    builder's verbose log; empty where the library does not print its layers.
    """

    data: bytes
    library: str
    version: str
    seconds: float
    convolutions: dict[str, int]


def load_library(target: str) -> ModuleType:
    """Import the TensorRT library of a target; if it is not usable here, say why and what to do."""
    name = LIBRARIES[target]
    try:
        return importlib.import_module(name)
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError) and error.name == name:
            reason = f"the Python package {name} is not installed"
        else:
            reason = f"{name} does not load ({str(error).splitlines()[0]})"
        raise DeviceMissing(f"{reason}; {REMEDIES[target]}") from None


def build_plan(trt: ModuleType, graph: bytes, workspace_mb: int) -> Plan:
    """Build a plan from ONNX bytes. A graph that TensorRT cannot build raises `Refused`.

    `workspace_mb` caps the scratch memory that a tactic may use.
    """
    started = time.perf_counter()
    log = _logger(trt)
    builder = trt.Builder(log)
    flag = trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED  # 1 on TensorRT 10, 0 on 11 and RTX
    network = builder.create_network(1 << int(flag))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(graph):
        errors = "; ".join(parser.get_error(i).desc() for i in range(parser.num_errors))
        raise Refused(f"{trt.__name__} {trt.__version__} does not parse the graph: {errors}")
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_mb << 20)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise Refused(f"{trt.__name__} {trt.__version__} could not build: {log.failure()}")
    seconds = time.perf_counter() - started
    return Plan(bytes(plan), trt.__name__, trt.__version__, seconds, convolutions(log.layers))


def _logger(trt: ModuleType) -> Any:
    """A logger that keeps errors and the layer list; nothing is printed, failures are raised."""
    severity = trt.ILogger.Severity

    base: Any = trt.ILogger  # the library's own class, known only now

    class Log(base):  # type: ignore[misc]
        def __init__(self) -> None:
            base.__init__(self)
            self.errors: list[str] = []
            self.layers = ""

        def log(self, level: Any, message: str) -> None:
            if level in (severity.ERROR, severity.INTERNAL_ERROR):
                self.errors.append(message)
            elif message.startswith("Layers:"):
                self.layers = message

        def failure(self) -> str:
            # "driver version is insufficient" is noise: RTX logs it on every machine without a GPU.
            told = [e for e in self.errors if "driver version is insufficient" not in e]
            return told[-1] if told else "no reason given in its log"

    return Log()


def convolutions(layers: str) -> dict[str, int]:
    """Count convolution layers by the precision of their input, from a verbose "Layers:" log."""
    counts: Counter[str] = Counter()
    for line in layers.splitlines():
        if re.search(r"LayerType: (correlation|CaskConvolution|convolution)", line, re.IGNORECASE):
            kind = re.search(r"Inputs: \[ \{.*?Datatype: (\w+)", line)
            if kind:
                counts[TYPE_NAMES.get(kind[1], kind[1])] += 1
    return dict(sorted(counts.items()))
