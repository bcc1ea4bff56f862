"""PyCUDA and cuda.core as far as the device layer calls them, over one fake GPU."""

from __future__ import annotations

import ctypes
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np


def module(name: str, **members: Any) -> ModuleType:
    """A module made of `members`."""
    result = ModuleType(name)
    vars(result).update(members)
    return result


class FakeGpu:
    """Device memory by address, and a log of what was launched, for both fakes."""

    def __init__(self) -> None:
        self.memory: dict[int, bytearray] = {}
        self.launched: list[tuple[Any, ...]] = []
        self.depth = 0  # contexts pushed and not popped
        self.current = False
        self.next_address = 0x1000
        self.synchronised = 0
        self.closed = False

    def allocate(self, size: int) -> int | None:
        """The address, or None for more than 1 MB."""
        self.must_be_current()
        if size > 2**20:
            return None
        address, self.next_address = self.next_address, self.next_address + size + 256
        self.memory[address] = bytearray(size)
        return address

    def write(self, address: int, data: bytes) -> None:
        self.must_be_current()
        self.memory[address][: len(data)] = data

    def read(self, address: int, size: int) -> bytes:
        self.must_be_current()
        return bytes(self.memory[address][:size])

    def must_be_current(self) -> None:
        assert self.depth == 1 or self.current


def fake_pycuda(gpu: FakeGpu) -> ModuleType:
    """`pycuda.driver`: the calls that the adapter makes, with PyCUDA's own rules."""

    class Error(Exception):
        pass

    class OutOfMemory(Error):
        pass

    class Allocation:
        def __init__(self, size: int) -> None:
            address = gpu.allocate(size)
            if address is None:
                raise OutOfMemory("cuMemAlloc failed: out of memory")
            self.address, self.valid = address, True

        def __int__(self) -> int:
            return self.address

        def free(self) -> None:
            assert self.valid, "PyCUDA raises on a second free"
            self.valid = False
            del gpu.memory[self.address]

    class Context:
        def push(self) -> None:
            gpu.depth += 1

        @staticmethod
        def pop() -> None:
            gpu.depth -= 1

        def detach(self) -> None:
            gpu.closed = True

    class FakeDevice:
        def __init__(self, index: int) -> None:
            if index:
                raise Error("cuDeviceGet failed: invalid device ordinal")

        def compute_capability(self) -> tuple[int, int]:
            return 8, 7

        def name(self) -> str:
            return "Orin"

        def retain_primary_context(self) -> Context:
            return Context()

    class Stream:
        def __init__(self) -> None:
            gpu.must_be_current()
            self.handle = 77

        def synchronize(self) -> None:
            gpu.synchronised += 1

    class Event:
        def record(self, stream: Stream) -> None:
            self.time = 5.0 * gpu.synchronised

        def synchronize(self) -> None:
            gpu.synchronised += 1

        def time_since(self, other: Event) -> float:
            return self.time - other.time

    class Function:
        def prepare(self, formats: list[str]) -> None:
            self.formats = formats

        def prepared_async_call(
            self, grid: tuple[int, int], block: tuple[int, ...], stream: Stream, *values: Any
        ) -> None:
            gpu.must_be_current()
            gpu.launched.append((grid[0], block[0], "".join(self.formats), *values))

    def memcpy_htod_async(address: int, array: Any, stream: Stream) -> None:
        gpu.write(address, array.tobytes())

    def memcpy_dtoh_async(array: Any, address: int, stream: Stream) -> None:
        array.reshape(-1).view(np.uint8)[:] = list(gpu.read(address, array.nbytes))

    def module_from_buffer(code: bytes) -> SimpleNamespace:
        if code != b"cubin for sm_87":
            raise Error("cuModuleLoadDataEx failed: device kernel image is invalid")
        return SimpleNamespace(get_function=lambda name: Function())

    return module(
        "pycuda.driver",
        init=lambda: None,
        mem_alloc=Allocation,
        Device=FakeDevice,
        Error=Error,
        MemoryError=OutOfMemory,
        Context=Context,
        Stream=Stream,
        Event=Event,
        memcpy_htod_async=memcpy_htod_async,
        memcpy_dtoh_async=memcpy_dtoh_async,
        module_from_buffer=module_from_buffer,
    )


def fake_cuda_core(gpu: FakeGpu) -> ModuleType:
    """`cuda.core`: the calls that the adapter makes; host memory is told by its address."""

    class FakeBuffer:
        def __init__(self, handle: int, size: int) -> None:
            self.handle, self.size = handle, size

        @staticmethod
        def from_handle(address: int, size: int) -> FakeBuffer:
            return FakeBuffer(address, size)

        def copy_from(self, source: FakeBuffer, *, stream: Stream) -> None:
            assert self.size == source.size
            gpu.write(self.handle, ctypes.string_at(source.handle, source.size))

        def copy_to(self, target: FakeBuffer, *, stream: Stream) -> None:
            assert self.size == target.size
            ctypes.memmove(target.handle, gpu.read(self.handle, self.size), self.size)

        def close(self, stream: Stream) -> None:
            del gpu.memory[self.handle]

    class EventOptions:
        def __init__(self, timing_enabled: bool) -> None:
            assert timing_enabled

    class Event:
        def __init__(self) -> None:
            self.time = 5.0 * gpu.synchronised

        def sync(self) -> None:
            gpu.synchronised += 1

        def __sub__(self, other: Event) -> float:
            return self.time - other.time

    class Stream:
        handle = 77

        def sync(self) -> None:
            gpu.synchronised += 1

        def record(self, options: EventOptions) -> Event:
            return Event()

        def close(self) -> None:
            gpu.closed = True

    class FakeDevice:
        name, arch = "Orin", "87"

        def __init__(self, index: int) -> None:
            if index:
                raise ValueError("device_id must be within [0, 1)")

        def set_current(self) -> None:
            gpu.current = True

        def create_stream(self) -> Stream:
            return Stream()

        def allocate(self, size: int, *, stream: Stream) -> FakeBuffer:
            address = gpu.allocate(size)
            if address is None:
                raise RuntimeError("CUDA_ERROR_OUT_OF_MEMORY: The API call failed")
            return FakeBuffer(address, size)

    class ObjectCode:
        @staticmethod
        def from_cubin(code: bytes) -> SimpleNamespace:
            def get_kernel(name: str) -> str:
                if code != b"cubin for sm_87":
                    raise RuntimeError("CUDA_ERROR_INVALID_IMAGE: device kernel image is invalid")
                return name

            return SimpleNamespace(get_kernel=get_kernel)

    class LaunchConfig:
        def __init__(self, grid: int, block: int) -> None:
            self.grid, self.block = grid, block

    formats = {np.int32: "i", np.float32: "f", int: "P"}

    def launch(stream: Stream, config: LaunchConfig, kernel: str, *values: Any) -> None:
        told = "".join(formats[type(value)] for value in values)
        gpu.launched.append((config.grid, config.block, told, *values))

    return module(
        "cuda.core",
        Device=FakeDevice,
        Buffer=FakeBuffer,
        EventOptions=EventOptions,
        ObjectCode=ObjectCode,
        LaunchConfig=LaunchConfig,
        launch=launch,
    )
