"""A plan, deserialised and ready to run: TensorRT's runtime, engine and execution context.

One way for `tensorrt` 10.3 to 11 and `tensorrt_rtx`: what all of them have is used, and what only
some have is found by its name, never by a version.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from engines.device import Buffer
from engines.failures import DeviceMissing, Refused
from engines.runtime_cache import RuntimeCache
from engines.spec import ModelSpec
from engines.tensorrt_runtime import error_log, open_part

INPUT, OUTPUT = "frames", "logits"


class PlanContext:
    """Runs `frames` uint8 [N, H, W, 3] -> `logits` float32 [N, C, h, w] between device buffers.

    Every call needs the device to be current.

    Args:
        trt: tensorrt or tensorrt_rtx.
        plan: Its content, whose hash was checked.
        spec: Of the model.
        cache: Makes the runtime cache for a configuration, where the library has one.

    Raises:
        Refused: The library does not take the plan, or it is not one of this model.
        DeviceMissing: The GPU has no memory left for it, or the library does not start.
    """

    def __init__(
        self, trt: ModuleType, plan: bytes, spec: ModelSpec, cache: Callable[[Any], RuntimeCache]
    ) -> None:
        self._spec, self._trt = spec, trt
        self._name = f"{trt.__name__} {trt.__version__}"
        self._log = error_log(trt)
        self._runtime = open_part(trt, "Runtime", self._log)
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise Refused(f"{self._name} does not take the plan: {self._log.last}")
        self._check_tensors()
        self._config: Any = None
        self._cache: RuntimeCache | None = None
        # RTX captures its own CUDA graphs, and of ours it knows nothing.
        self.captures_itself = hasattr(trt, "CudaGraphStrategy")
        if self.captures_itself:
            self._configure(cache)
        self._context = self._new_context()

    def frames(self, count: int) -> None:
        """Run `count` frames from now on.

        Raises:
            Refused: The plan was not built for so many, or gives other logits than the model's.
        """
        shape = (count, *self._spec.input_size, 3)
        if not self._context.set_input_shape(INPUT, shape):
            raise Refused(f"the plan does not take frames {list(shape)}: {self._log.last}")
        logits = tuple(self._context.get_tensor_shape(OUTPUT))
        expected = (count, len(self._spec.classes), *self._spec.logits_size)
        if logits != expected:
            raise Refused(f"the plan gives logits {list(logits)}, the model {list(expected)}")

    def bind(self, frames: Buffer, logits: Buffer) -> None:
        """Where the next runs read and write."""
        for name, buffer in ((INPUT, frames), (OUTPUT, logits)):
            if not self._context.set_tensor_address(name, buffer.address):
                raise Refused(f"the plan does not take the address of {name}: {self._log.last}")

    def enqueue(self, stream: int) -> None:
        """Queue one run.

        Raises:
            DeviceMissing: TensorRT could not.
        """
        if not self._context.execute_async_v3(stream):
            raise DeviceMissing(
                f"{self._name} could not run the plan: {self._log.last}; if the GPU was reset or "
                "ran out of memory, start again, and else ask python -m engines.doctor"
            )

    def store_cache(self) -> None:
        """Keep on disk what the library compiled for this GPU, where it does that."""
        if self._cache is not None:
            self._cache.store()

    def close(self) -> None:
        """Free all in the order that TensorRT asks for: context, engine, runtime."""
        for name in ("_context", "_cache", "_config", "_engine", "_runtime"):
            setattr(self, name, None)

    def _check_tensors(self) -> None:
        engine, kinds = self._engine, self._trt.DataType
        modes = self._trt.TensorIOMode
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        found = {
            name: (engine.get_tensor_mode(name), engine.get_tensor_dtype(name)) for name in names
        }
        wanted = {INPUT: (modes.INPUT, kinds.UINT8), OUTPUT: (modes.OUTPUT, kinds.FLOAT)}
        if found != wanted:
            told = ", ".join(f"{name} {kind}" for name, (_, kind) in found.items())
            raise Refused(
                f"the plan has the tensors {told}, and not frames in uint8 and logits in float: "
                "it is another model's"
            )

    def _configure(self, cache: Callable[[Any], RuntimeCache]) -> None:
        trt, config = self._trt, self._engine.create_runtime_config()
        config.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        # Lazily, the first runs would use generic kernels while others are compiled beside them:
        # the self-test would not test what runs later.
        eager = trt.DynamicShapesKernelSpecializationStrategy.EAGER
        config.dynamic_shapes_kernel_specialization_strategy = eager
        self._cache, self._config = cache(config), config

    def _new_context(self) -> Any:
        engine = self._engine
        context = (
            engine.create_execution_context()
            if self._config is None
            else engine.create_execution_context(self._config)
        )
        if context is None:
            raise DeviceMissing(
                f"{self._name} could not make a context, which takes "
                f"{engine.device_memory_size_v2 / 1e6:.0f} MB of the GPU's memory: "
                f"{self._log.last}; close what else runs on the GPU"
            )
        return context
