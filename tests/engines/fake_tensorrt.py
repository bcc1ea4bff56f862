"""TensorRT's runtime half as far as sessions call it, in the flavours that are in use.

A plan is JSON here, and "running" it is a NumPy function on the fake GPU's memory. What a flavour
lacks is an AttributeError, as in the library.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.engines.fake_bindings import module
from tests.engines.fake_gpu import FakeGpu

VERSIONS = {"10.3": "10.3.0", "10.13": "10.13.2", "11": "11.1.0", "rtx": "1.7.1.116"}
Network = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


class DataType(Enum):
    FLOAT = 0
    HALF = 1
    UINT8 = 5


class TensorIOMode(Enum):
    NONE = 0
    INPUT = 1
    OUTPUT = 2


class Severity(Enum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2


class Logger:
    """`ILogger`: its subclass must call this constructor, and may not raise in `log`."""

    Severity = Severity

    def __init__(self) -> None:
        self.constructed = True

    def log(self, level: Any, message: str) -> None:
        raise NotImplementedError


@dataclass
class FakeLibrary:
    """One library over a fake GPU.

    Args:
        flavour: A key of VERSIONS.
        gpu: Where it runs.
        network: What every plan computes.
        broken: What fails: "deserialise", "context", "enqueue", "capture", "address".
        log: In which order things were made, run and freed.
    """

    flavour: str
    gpu: FakeGpu
    network: Network
    broken: str = ""
    log: list[str] = field(default_factory=list)
    caches: list[bytes] = field(default_factory=list)  # what was given to deserialise

    @property
    def name(self) -> str:
        return "tensorrt_rtx" if self.flavour == "rtx" else "tensorrt"

    def module(self) -> ModuleType:
        """The module to import."""
        members: dict[str, Any] = {
            "__version__": VERSIONS[self.flavour],
            "ILogger": Logger,
            "DataType": DataType,
            "TensorIOMode": TensorIOMode,
            "Runtime": lambda log: Runtime(self, log),
        }
        if self.flavour == "rtx":
            capabilities = ("SM75", "SM80", "SM86", "SM89", "SM120", "SM121")
            members["ComputeCapability"] = SimpleNamespace(**dict.fromkeys(capabilities))
            members["CudaGraphStrategy"] = SimpleNamespace(DISABLED=0, WHOLE_GRAPH_CAPTURE=1)
            strategies = SimpleNamespace(LAZY=0, EAGER=1, NONE=2)
            members["DynamicShapesKernelSpecializationStrategy"] = strategies
        return module(self.name, **members)


def plan(
    batch: tuple[int, int] = (1, 1),
    size: tuple[int, int] = (32, 48),
    logits: tuple[int, int, int] = (2, 8, 12),
    tensors: dict[str, tuple[str, str]] | None = None,
) -> bytes:
    """What the fake takes for a plan."""
    tensors = tensors or {"frames": ("INPUT", "UINT8"), "logits": ("OUTPUT", "FLOAT")}
    facts = {"batch": batch, "size": size, "logits": logits, "tensors": tensors}
    return json.dumps(facts).encode()


class Runtime:
    def __init__(self, library: FakeLibrary, log: Logger) -> None:
        assert log.constructed
        self.library, self.log = library, log

    def deserialize_cuda_engine(self, data: bytes) -> Engine | None:
        self.library.gpu.must_be_current()
        if self.library.broken == "deserialise":
            self.log.log(Severity.ERROR, "[Error] Version tag does not match.")
            self.log.log(Severity.WARNING, "a warning is no reason")
            return None
        return Engine(self, json.loads(data))

    def __del__(self) -> None:
        self.library.log.append("runtime freed")


class Engine:
    device_memory_size_v2 = 90_000_000

    def __init__(self, runtime: Runtime, facts: dict[str, Any]) -> None:
        # Nothing keeps what it came from alive: who frees in the wrong order is seen.
        self.log, self.facts, self.library = runtime.log, facts, runtime.library
        self.names: list[str] = list(facts["tensors"])
        library = runtime.library
        if library.flavour != "10.3":  # it came after
            self.create_runtime_config = lambda: RuntimeConfig(library)

    @property
    def num_io_tensors(self) -> int:
        return len(self.names)

    def get_tensor_name(self, index: int) -> str:
        return self.names[index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode[self.facts["tensors"][name][0]]

    def get_tensor_dtype(self, name: str) -> DataType:
        return DataType[self.facts["tensors"][name][1]]

    def create_execution_context(self, config: RuntimeConfig | None = None) -> Context | None:
        self.library.gpu.must_be_current()
        if self.library.broken == "context":
            self.log.log(Severity.ERROR, "[Error] Requested amount of GPU memory (90 MB)")
            return None
        if self.library.flavour == "rtx":
            assert config is not None
            assert config.cuda_graph_strategy == 1
            assert config.dynamic_shapes_kernel_specialization_strategy == 1
        return Context(self, config)

    def __del__(self) -> None:
        self.library.log.append("engine freed")


class RuntimeCache:
    """Kernels are compiled for a shape when it runs first."""

    def __init__(self, library: FakeLibrary) -> None:
        self.library, self.shapes = library, set[int]()

    def deserialize(self, blob: bytes) -> bool:
        self.library.gpu.must_be_current()
        self.library.caches.append(blob)
        try:
            self.shapes = set(json.loads(blob))
        except ValueError:
            return False
        return True

    def serialize(self) -> bytes:
        return json.dumps(sorted(self.shapes)).encode()


class RuntimeConfig:
    cuda_graph_strategy = 0
    dynamic_shapes_kernel_specialization_strategy = 0

    def __init__(self, library: FakeLibrary) -> None:
        self.library = library
        self.cache: RuntimeCache | None = None
        if library.flavour == "rtx":
            self.create_runtime_cache = lambda: RuntimeCache(library)
            self.set_runtime_cache = lambda cache: setattr(self, "cache", cache)


class Context:
    def __init__(self, engine: Engine, config: RuntimeConfig | None) -> None:
        self.log, self.facts, self.library = engine.log, engine.facts, engine.library
        self.config = config
        self.count = 0
        self.addresses: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        low, high = self.facts["batch"]
        if name != "frames" or not low <= shape[0] <= high:
            self.log.log(Severity.ERROR, "[Error] not in the optimization profile")
            return False
        self.count = shape[0]
        return list(shape[1:]) == [*self.facts["size"], 3]

    def get_tensor_shape(self, name: str) -> list[int]:  # Dims can be iterated over, no more
        assert name == "logits"
        return [self.count, *self.facts["logits"]]

    def set_tensor_address(self, name: str, address: int) -> bool:
        assert not self.library.gpu.queue, "an address was changed under queued work"
        self.addresses[name] = address
        return self.library.broken != "address"

    def execute_async_v3(self, stream: int) -> bool:
        gpu = self.library.gpu
        gpu.must_be_current()
        assert stream == gpu.stream
        capturing = gpu.capturing is not None
        if self.library.broken == "enqueue" or (self.library.broken == "capture" and capturing):
            self.log.log(Severity.ERROR, "[Error] CUDA error 700")
            return False
        self.library.log.append("captured" if capturing else f"enqueued {self.count}")
        if self.config is not None and self.config.cache is not None:
            self.config.cache.shapes.add(self.count)
        count, addresses = self.count, dict(self.addresses)
        gpu.submit(lambda: self.compute(count, addresses))
        return True

    def compute(self, count: int, addresses: dict[str, int]) -> None:
        shape = (count, *self.facts["size"], 3)
        data = self.library.gpu.read(addresses["frames"], int(np.prod(shape)))
        frames = np.frombuffer(data, np.uint8).reshape(shape)
        logits = np.stack([self.library.network(frame) for frame in frames])
        self.library.gpu.write(addresses["logits"], logits.astype(np.float32).tobytes())
        self.library.log.append(f"ran {count}")

    def __del__(self) -> None:
        self.library.log.append("context freed")
