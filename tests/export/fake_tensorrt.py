"""TensorRT 10.3, 10.13 and 11.x as far as a build touches them: what each has, and nothing else.

A name that a version does not have is an AttributeError here, too; which those are was read off
NVIDIA's bindings (v10.3.0, v10.13.0, v11.1) and the strings of 11.4. Every call is written down.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from types import SimpleNamespace
from typing import Any

FLAGS_OF_10 = {"FP16": 0, "INT8": 2}
FLAGS = {"TF32": 7, "STRIP_PLAN": 15}

LAYERS_OF_10 = (
    "Layers:\n"
    "Name: Reformatting CopyNode for Input Tensor 0 to stem/Conv, LayerType: Reformat, Inputs: "
    "[ { Name: frames, Location: Device, Dimensions: [1,3,8,8], Format/Datatype: Row major linear "
    "UInt8 format }], Outputs: [ { Name: r, Location: Device, Dimensions: [1,3,8,8], "
    "Format/Datatype: Channel major FP16 format where channel % 4 == 0 }], ParameterType: "
    "Reformat, Origin: REFORMAT, TacticValue: 0x00000000000003e8, StreamId: 0, Metadata: \n"
    "Name: stem/Conv + stem/Relu, LayerType: CaskConvolution, Inputs: [ { Name: r, Location: "
    "Device, Dimensions: [1,3,8,8], Format/Datatype: Channel major FP16 format where channel % 4 "
    "== 0 }], Outputs: [ { Name: s, Location: Device, Dimensions: [1,8,8,8], Format/Datatype: "
    "Thirty-two wide channel vectorized row major Int8 format }], ParameterType: Convolution, "
    'Kernel: [3,3], Weights: {"Type": "Half", "Count": 216}, TacticName: sm80_xmma, StreamId: 0, '
    "Metadata: [ONNX Layer: stem/Conv]\x1e[ONNX Layer: stem/Relu]\n"
    "Name: block/Conv, LayerType: CaskConvolution, Inputs: [ { Name: s, Location: Device, "
    "Dimensions: [1,8,8,8], Format/Datatype: Thirty-two wide channel vectorized row major Int8 "
    "format }], Outputs: [ { Name: logits, Location: Device, Dimensions: [1,8,8,8], "
    "Format/Datatype: Row major linear FP32 }], ParameterType: Convolution, TacticName: t, "
    "StreamId: 0, Metadata: [ONNX Layer: block/Conv]\n"
    "\nBindings:\nframes\nlogits\n"
)


@dataclass
class Calls:
    """What was asked of the library."""

    flags: int | None = None
    config: Any = None
    profiles: list[dict[str, tuple[tuple[int, ...], ...]]] = field(default_factory=list)
    graphs: list[bytes] = field(default_factory=list)


class FakeTensorRt:
    """The module. `shape` is the parsed input's; the errors that `fails` gives for a graph are
    logged, and then there is no plan; `layers` is what the inspector says of a graph's plan."""

    def __init__(
        self,
        version: str = "10.3.0",
        *,
        shape: tuple[int, ...] = (1, 32, 48, 3),
        parses: bool = True,
        fails: Callable[[bytes], tuple[str, ...]] = lambda graph: (),
        layers: Callable[[bytes], str] = lambda graph: LAYERS_OF_10,
    ) -> None:
        self.__name__, self.__version__ = "tensorrt", version
        self.calls = Calls()
        major = int(version.partition(".")[0])
        ten = major == 10
        flags = FLAGS | FLAGS_OF_10 if ten else FLAGS
        self.BuilderFlag = SimpleNamespace(**flags)
        creation = {"EXPLICIT_BATCH": 0, "STRONGLY_TYPED": 1} if ten else {"STRONGLY_TYPED": 0}
        self.NetworkDefinitionCreationFlag = SimpleNamespace(**creation)
        self.ProfilingVerbosity = SimpleNamespace(DETAILED="detailed")
        self.MemoryPoolType = SimpleNamespace(WORKSPACE="workspace")
        levels = {"NONE": 0, "AMPERE_PLUS": 1}
        self.HardwareCompatibilityLevel = SimpleNamespace(
            **(levels if version.startswith("10.3") else levels | {"SAME_COMPUTE_CAPABILITY": 2})
        )
        self.LayerInformationFormat = SimpleNamespace(ONELINE="oneline", JSON="json")
        self.ILogger = FakeLogger
        self.IProgressMonitor = FakeMonitor
        self.ITimingCache = FakeTimings
        self.Builder = lambda log: FakeBuilder(self.calls, log, shape, fails)
        self.OnnxParser = lambda network, log: FakeParser(self.calls, parses)
        self.Runtime = lambda log: FakeRuntime(layers(self.calls.graphs[-1]))
        if ten:
            self.IInt8EntropyCalibrator2 = object


class Severity(IntEnum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2
    INFO = 3
    VERBOSE = 4


class FakeLogger:
    Severity = Severity


class FakeMonitor:
    """As pybind11 has it: a subclass must call `__init__`."""

    def __init__(self) -> None:
        self.ready = True


class FakeTimings:
    """Lines of text instead of measurements."""

    def __init__(self, data: bytes) -> None:
        self.lines = set(data.split())

    def combine(self, other: FakeTimings, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        self.lines |= other.lines
        return True

    def serialize(self) -> bytes:
        return b"\n".join(sorted(self.lines))


class FakeConfig:
    """The builder's configuration; only what every version has may be set."""

    __slots__ = (
        "builder_optimization_level", "calls", "hardware_compatibility_level", "pools",
        "profiling_verbosity", "progress_monitor", "set_flags", "timings",
    )  # fmt: skip

    def __init__(self, calls: Calls) -> None:
        self.calls = calls
        self.pools: dict[str, int] = {}
        self.set_flags: set[int] = set()
        self.timings: FakeTimings | None = None

    def set_memory_pool_limit(self, pool: str, size: int) -> None:
        self.pools[pool] = size

    def set_flag(self, flag: int) -> None:
        self.set_flags.add(flag)

    def add_optimization_profile(self, profile: FakeProfile) -> int:
        self.calls.profiles.append(profile.shapes)
        return -1 if any(0 in least for least, *_ in profile.shapes.values()) else 0

    def create_timing_cache(self, data: bytes) -> FakeTimings | None:
        return None if data.startswith(b"broken") else FakeTimings(data)

    def set_timing_cache(self, cache: FakeTimings, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        self.timings = cache
        return b"of-another-gpu" not in cache.lines

    def get_timing_cache(self) -> FakeTimings | None:
        return self.timings


class FakeProfile:
    def __init__(self) -> None:
        self.shapes: dict[str, tuple[tuple[int, ...], ...]] = {}

    def set_shape(self, name: str, *shapes: tuple[int, ...]) -> None:
        assert len(shapes) == 3
        self.shapes[name] = shapes


class FakeBuilder:
    def __init__(
        self, calls: Calls, log: Any, shape: tuple[int, ...], fails: Callable[[bytes], Any]
    ) -> None:
        self.calls, self.log, self.shape, self.fails = calls, log, shape, fails

    def create_network(self, flags: int) -> Any:
        self.calls.flags = flags
        tensor = SimpleNamespace(name="frames", shape=self.shape)
        return SimpleNamespace(num_inputs=1, get_input=lambda index: tensor)

    def create_builder_config(self) -> FakeConfig:
        config = self.calls.config = FakeConfig(self.calls)
        return config

    def create_optimization_profile(self) -> FakeProfile:
        return FakeProfile()

    def build_serialized_network(self, network: Any, config: FakeConfig) -> bytes | None:
        self.log.log(Severity.ERROR, "CUDA error 35: driver version is insufficient")
        for name in ("a/Conv", "b.1"):
            text = f"Missing scale and zero-point for tensor {name}, expect fall back"
            self.log.log(Severity.WARNING, text)
        self.log.log(Severity.VERBOSE, "Engine Layer Information:\nLayer(CaskConvolution): stem")
        errors = self.fails(self.calls.graphs[-1])
        for error in errors:
            self.log.log(Severity.ERROR, error)
        if config.timings is not None:
            config.timings.lines.add(f"tactic{len(self.calls.graphs)}".encode())
        if not _report(getattr(config, "progress_monitor", None)):
            return None
        return None if errors else b"a plan"


def _report(monitor: Any) -> bool:
    """Tell a monitor of a build of two phases, as TensorRT does; False: it wants to stop."""
    if monitor is None:
        return True
    assert monitor.ready
    monitor.phase_start("Building engine", None, 2)
    for step in range(2):
        monitor.phase_start("Timing tactics", "Building engine", 4)
        for part in range(4):
            if not monitor.step_complete("Timing tactics", part):
                return False
        monitor.phase_finish("Timing tactics")
        if not monitor.step_complete("Building engine", step):
            return False
    monitor.phase_finish("Building engine")
    return True


class FakeParser:
    num_errors = 1

    def __init__(self, calls: Calls, parses: bool) -> None:
        self.calls, self.parses = calls, parses

    def parse(self, graph: bytes) -> bool:
        self.calls.graphs.append(graph)
        return self.parses

    def get_error(self, index: int) -> Any:
        return SimpleNamespace(desc=lambda: "no importer for Foo")


class FakeRuntime:
    def __init__(self, layers: str) -> None:
        self.layers = layers

    def deserialize_cuda_engine(self, plan: bytes) -> Any:
        assert plan == b"a plan"
        inspector = SimpleNamespace(get_engine_information=self._tell)
        return SimpleNamespace(create_engine_inspector=lambda: inspector)

    def _tell(self, form: str) -> str:
        assert form == "oneline"
        return self.layers
