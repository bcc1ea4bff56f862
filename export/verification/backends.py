"""What runs a graph with taps: onnxruntime, OpenVINO, or a TensorRT plan that is built for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from engines.device import Device, open_device
from engines.failures import DeviceMissing, GateFailed, Refused
from engines.onnxruntime_session import load_graph
from engines.tensorrt_runtime import error_log, load_library, open_part
from export.verification.difference import Floats

Feed = Mapping[str, NDArray[Any]]
Run = Callable[[Feed], list[Floats]]  # inputs by name -> outputs in the graph's order
Backend = Callable[[ModelProto, str], Run]  # a graph, and its name for error messages


def on_onnxruntime(model: ModelProto, what: str) -> Run:
    """A graph on onnxruntime's CPU. A graph that loads but does not run fails the gate."""
    # Sessions that keep the memory of their largest run take 4.0 GB for the bundled model's 40
    # graphs instead of 2.2, in the same time.
    session = load_graph(model.SerializeToString(), what, pattern=False, pool=False)

    def run(feed: Feed) -> list[Floats]:
        try:
            return list(session.run(None, dict(feed)))
        except Exception as error:
            reason = str(error).splitlines()[0]
            raise GateFailed(
                f"the {what} graph loads and does not run ({reason}): build the bundle again with "
                "python export/build_engine.py"
            ) from error

    return run


def on_openvino(model: ModelProto, what: str) -> Run:
    """A graph on OpenVINO's CPU plugin."""
    from engines.openvino_session import compiled

    request = compiled(model.SerializeToString(), what, None).create_infer_request()
    names = [value.name for value in model.graph.input]

    def run(feed: Feed) -> list[Floats]:
        request.infer([feed[name] for name in names])
        outputs = range(len(model.graph.output))
        return [np.array(request.get_output_tensor(index).data) for index in outputs]

    return run


def on_tensorrt(target: str, lifetime: ExitStack, device: Device | None = None) -> Backend:
    """Plans for a TensorRT target; what they hold of the GPU is freed with `lifetime`.

    Raises:
        DeviceMissing: There is no GPU, or the library is not installed.
    """
    trt, gpu = load_library(target), device or open_device()
    if device is None:
        lifetime.callback(gpu.close)

    def backend(model: ModelProto, what: str) -> Run:
        from export.plans.builder import build_plan
        from export.plans.settings import BuildSettings

        settings = BuildSettings("int8" if "int8" in what else "fp16")
        plan = build_plan(trt, model.SerializeToString(), settings, quiet=True)
        with gpu.current():
            engine = TappedPlan(trt, plan.data, gpu, [o.name for o in model.graph.output])
        lifetime.callback(engine.close)
        return engine.run

    return backend


class TappedPlan:
    """A plan of fixed shapes and many outputs: uploads, runs, downloads. The device is current."""

    def __init__(self, trt: Any, plan: bytes, device: Device, outputs: list[str]) -> None:
        self._device, self._outputs = device, outputs
        self._log = error_log(trt)
        self._runtime = open_part(trt, "Runtime", self._log)
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise Refused(f"{trt.__name__} does not take its own plan: {self._log.last}")
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise DeviceMissing(
                f"the GPU has no memory left for a plan with taps ({self._log.last}): close what "
                "else runs on it, or verify one --precision at a time"
            )
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        self._arrays: dict[str, NDArray[Any]] = {}
        self._buffers = {}
        for name in names:
            dtype = np.dtype(trt.nptype(self._engine.get_tensor_dtype(name)))
            array = np.zeros(tuple(self._engine.get_tensor_shape(name)), dtype)
            self._arrays[name] = array
            self._buffers[name] = device.allocate(array.nbytes)
            self._context.set_tensor_address(name, self._buffers[name].address)

    def run(self, feed: Feed) -> list[Floats]:
        """One run on the device's stream."""
        for name, array in feed.items():
            self._device.upload(np.ascontiguousarray(array), self._buffers[name])
        with self._device.current():
            if not self._context.execute_async_v3(self._device.stream):
                raise DeviceMissing(f"a plan with taps does not run: {self._log.last}")
        self._device.synchronise()
        for name in self._outputs:
            self._device.download(self._buffers[name], self._arrays[name])
        return [self._arrays[name].astype(np.float32) for name in self._outputs]

    def close(self) -> None:
        """Free the plan and its buffers."""
        self._context = self._engine = self._runtime = None
        for buffer in self._buffers.values():
            self._device.free(buffer)
