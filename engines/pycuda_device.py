"""`Device` through PyCUDA."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.cuda_graph import CudaGraph
from engines.device import (
    THREADS,
    Argument,
    Buffer,
    does_not_load,
    no_pinned_memory,
    out_of_memory,
)
from engines.failures import DeviceMissing
from engines.kernels import KernelSource, cubin

NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: others' default stream would break a capture

# Primary contexts by GPU, until the process ends: PyCUDA's `detach` leaves a released one current
# in the thread (cuda.hpp: it pushes, releases and takes the release for a pop).
_contexts: dict[int, Any] = {}


@dataclass(frozen=True)
class _Event:
    event: Any  # pycuda.driver.Event
    device: PyCudaDevice

    def synchronise(self) -> None:
        with self.device.current():
            self.event.synchronize()

    def milliseconds_since(self, earlier: _Event) -> float:
        with self.device.current():
            return float(self.event.time_since(earlier.event))


class PyCudaDevice:
    """GPU number `index`.

    Raises:
        DeviceMissing: PyCUDA is not installed, or finds no driver or no such GPU.
    """

    def __init__(self, index: int = 0) -> None:
        try:
            from pycuda import driver
        except ImportError as error:  # not installed, or libcuda.so.1 is not there
            raise DeviceMissing(f"PyCUDA does not import: {error}") from error
        try:
            driver.init()
            device = driver.Device(index)
            if index not in _contexts:
                _contexts[index] = device.retain_primary_context()
        except driver.Error as error:
            raise DeviceMissing(f"PyCUDA cannot use GPU {index}: {error}") from error
        self._driver, self._context = driver, _contexts[index]
        major, minor = device.compute_capability()
        self.architecture = f"sm_{major}{minor}"
        self.description = f"{device.name()} ({self.architecture}) through PyCUDA"
        self._allocations: dict[int, Any] = {}
        self._pinned: dict[int, Any] = {}
        with self.current():
            self._stream = driver.Stream(NON_BLOCKING)

    @property
    def stream(self) -> int:
        return int(self._stream.handle)

    def allocate(self, size: int) -> Buffer:
        with self.current():
            try:
                allocation = self._driver.mem_alloc(size)
            except self._driver.MemoryError as error:
                raise out_of_memory(size) from error
        self._allocations[int(allocation)] = allocation
        return Buffer(int(allocation), size)

    def free(self, buffer: Buffer) -> None:
        self.synchronise()
        with self.current():
            self._allocations.pop(buffer.address).free()

    def pinned(self, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        with self.current():
            try:
                array: NDArray[Any] = self._driver.pagelocked_empty(shape, dtype)
            except self._driver.MemoryError as error:
                raise no_pinned_memory(shape, dtype) from error
        self._pinned[array.ctypes.data] = array.base
        return array

    def free_pinned(self, array: NDArray[Any]) -> None:
        self.synchronise()
        with self.current():
            self._pinned.pop(array.ctypes.data).free()

    def upload(self, array: NDArray[Any], buffer: Buffer) -> None:
        with self.current():
            self._driver.memcpy_htod_async(buffer.address, array, self._stream)
            if array.ctypes.data not in self._pinned:
                self._stream.synchronize()  # where a GPU reads pageable memory, it may do so later

    def download(self, buffer: Buffer, array: NDArray[Any]) -> None:
        self.queue_download(buffer, array)
        self.synchronise()

    def queue_download(self, buffer: Buffer, array: NDArray[Any]) -> None:
        with self.current():
            self._driver.memcpy_dtoh_async(array, buffer.address, self._stream)

    def load(self, source: KernelSource) -> Callable[[str], Any]:
        code = cubin(source, self.architecture)
        try:
            with self.current():
                module = self._driver.module_from_buffer(code)
        except self._driver.Error as error:
            raise does_not_load(source, error) from error

        def find(name: str) -> Any:
            with self.current():
                return module.get_function(name)

        return find

    def launch(self, kernel: Any, blocks: int, *arguments: Argument) -> None:
        """Prepared: a plain call of a kernel takes its arguments from a cache in which np.int32(1)
        and np.float32(1) are the same (pycuda/driver.py, _build_arg_buf)."""
        formats = [
            value.dtype.char if isinstance(value, np.generic) else "P" for value in arguments
        ]
        values = [
            value.item() if isinstance(value, np.generic) else value.address for value in arguments
        ]
        with self.current():
            kernel.prepare(formats)
            kernel.prepared_async_call((blocks, 1), (THREADS, 1, 1), self._stream, *values)

    def capture(self, work: Callable[[], None]) -> CudaGraph:
        return CudaGraph.capture(self.stream, self.current, work)

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make the device current in this thread, whatever was before."""
        self._context.push()
        try:
            yield
        finally:
            self._driver.Context.pop()

    def record(self) -> _Event:
        with self.current():
            event = self._driver.Event()
            event.record(self._stream)
        return _Event(event, self)

    def synchronise(self) -> None:
        with self.current():
            self._stream.synchronize()

    def close(self) -> None:
        self.synchronise()
        with self.current():
            for memory in (*self._allocations.values(), *self._pinned.values()):
                memory.free()
            del self._stream
        self._allocations.clear()
        self._pinned.clear()
