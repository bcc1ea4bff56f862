"""`Device` through `cuda.core`, NVIDIA's own binding; pip installs all of it but the driver."""

from __future__ import annotations

import ctypes
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


@dataclass(frozen=True)
class _Event:
    event: Any  # cuda.core.Event

    def synchronise(self) -> None:
        self.event.sync()

    def milliseconds_since(self, earlier: _Event) -> float:
        return float(self.event - earlier.event)


class CudaCoreDevice:
    """GPU number `index`.

    Raises:
        DeviceMissing: cuda.core is not installed, or finds no driver or no such GPU.
    """

    def __init__(self, index: int = 0) -> None:
        try:
            from cuda import core
        except ImportError as error:
            raise DeviceMissing(f"cuda.core does not import: {error}") from error
        try:
            self._device = core.Device(index)
            self._device.set_current()
        except (
            Exception
        ) as error:  # no driver: RuntimeError; no device: CUDAError; index: ValueError
            raise DeviceMissing(f"cuda.core cannot use GPU {index}: {error}") from error
        self._core = core
        self._stream = self._device.create_stream()
        self.architecture = f"sm_{self._device.arch}"
        self.description = f"{self._device.name} ({self.architecture}) through cuda.core"
        self._buffers: dict[int, Any] = {}
        self._pinned: dict[int, Any] = {}

    @property
    def stream(self) -> int:
        return int(self._stream.handle)

    def allocate(self, size: int) -> Buffer:
        self._device.set_current()
        try:
            buffer = self._device.allocate(size, stream=self._stream)
        except Exception as error:  # CUDAError, which cuda.core does not export
            if "OUT_OF_MEMORY" not in str(error):
                raise
            raise out_of_memory(size) from error
        address = int(buffer.handle)
        self._buffers[address] = buffer
        return Buffer(address, size)

    def free(self, buffer: Buffer) -> None:
        self._device.set_current()
        self._buffers.pop(buffer.address).close(self._stream)

    def pinned(self, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        self._device.set_current()
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        try:
            buffer = self._core.LegacyPinnedMemoryResource().allocate(size)
        except Exception as error:  # CUDAError
            if "OUT_OF_MEMORY" not in str(error):
                raise
            raise no_pinned_memory(shape, dtype) from error
        address = int(buffer.handle)
        self._pinned[address] = buffer
        memory = (ctypes.c_ubyte * size).from_address(address)
        return np.frombuffer(memory, dtype).reshape(shape)

    def free_pinned(self, array: NDArray[Any]) -> None:
        self.synchronise()
        self._pinned.pop(array.ctypes.data).close()

    def upload(self, array: NDArray[Any], buffer: Buffer) -> None:
        self._device.set_current()
        self._view(buffer.address, array).copy_from(
            self._view(array.ctypes.data, array), stream=self._stream
        )
        if array.ctypes.data not in self._pinned:
            self._stream.sync()  # where a GPU reads pageable memory, it may do so later

    def download(self, buffer: Buffer, array: NDArray[Any]) -> None:
        self.queue_download(buffer, array)
        self._stream.sync()

    def queue_download(self, buffer: Buffer, array: NDArray[Any]) -> None:
        self._device.set_current()
        self._view(buffer.address, array).copy_to(
            self._view(array.ctypes.data, array), stream=self._stream
        )

    def load(self, source: KernelSource) -> Callable[[str], Any]:
        self._device.set_current()
        module = self._core.ObjectCode.from_cubin(cubin(source, self.architecture))

        def find(name: str) -> Any:
            self._device.set_current()
            try:
                return module.get_kernel(name)  # loads the module the first time
            except Exception as error:  # CUDAError
                raise does_not_load(source, error) from error

        return find

    def launch(self, kernel: Any, blocks: int, *arguments: Argument) -> None:
        self._device.set_current()
        values = [
            value if isinstance(value, np.generic) else value.address for value in arguments
        ]  # a Python int is taken for an address
        config = self._core.LaunchConfig(grid=blocks, block=THREADS)
        self._core.launch(self._stream, config, kernel, *values)

    def capture(self, work: Callable[[], None]) -> CudaGraph:
        return CudaGraph.capture(self.stream, self.current, work)

    @contextmanager
    def current(self) -> Iterator[None]:
        self._device.set_current()
        yield

    def record(self) -> _Event:
        self._device.set_current()
        return _Event(self._stream.record(options=self._core.EventOptions(timing_enabled=True)))

    def synchronise(self) -> None:
        self._device.set_current()
        self._stream.sync()

    def close(self) -> None:
        self.synchronise()
        for buffer in self._pinned.values():
            buffer.close()
        for buffer in self._buffers.values():
            buffer.close(self._stream)
        self._buffers.clear()
        self._pinned.clear()
        self._stream.close()

    def _view(self, address: int, array: NDArray[Any]) -> Any:
        """As many bytes as the array's, host or device: the copy finds out which."""
        return self._core.Buffer.from_handle(address, array.nbytes)
