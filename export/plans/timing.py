"""Milliseconds of one run of a plan that was just built here, on the GPU that is here.

For the pre-flight's plans of one layer: random content is never looked at, so buffers stay as the
device gives them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from engines.device import Buffer, Device, open_device
from engines.failures import DeviceMissing
from engines.tensorrt_runtime import open_part
from export.plans.library import title
from export.plans.log import new_log
from export.plans.preflight import Timer

WARM_UP = 5
RUNS = 50
WIDEST = 8  # bytes of an element


@contextmanager
def plan_timer(trt: ModuleType) -> Iterator[Timer]:
    """A function plan -> milliseconds, None for one of another GPU, as --compute-capability makes;
    no GPU or no binding raises `DeviceMissing`."""
    device = open_device()

    def timer(plan: bytes) -> float | None:
        with device.current():  # what the library is called with, PyCUDA leaves to its callers
            return _milliseconds(trt, runtime, device, plan)

    try:
        with device.current():
            runtime = open_part(trt, "Runtime", new_log(trt))
        yield timer
    finally:
        device.close()


def _milliseconds(trt: ModuleType, runtime: Any, device: Device, plan: bytes) -> float | None:
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        return None
    context = engine.create_execution_context()
    if context is None:
        raise DeviceMissing(
            f"{title(trt)} has no GPU memory left to time a plan of one layer: close what else "
            "runs on the GPU, or build with --no-preflight"
        )
    buffers = _bind(engine, context, device)
    try:
        for _ in range(WARM_UP):
            context.execute_async_v3(device.stream)
        start = device.record()
        for _ in range(RUNS):
            context.execute_async_v3(device.stream)
        end = device.record()
        end.synchronise()
        return end.milliseconds_since(start) / RUNS
    finally:
        for buffer in buffers:
            device.free(buffer)


def _bind(engine: Any, context: Any, device: Device) -> list[Buffer]:
    """Give every input and output of a plan of fixed shapes a buffer."""
    buffers = []
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        buffer = device.allocate(math.prod(engine.get_tensor_shape(name)) * WIDEST)
        context.set_tensor_address(name, buffer.address)
        buffers.append(buffer)
    return buffers
