"""PyCUDA and cuda.core as far as the device layer calls them, over one fake GPU."""

from __future__ import annotations

import ctypes
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.engines.fake_gpu import FakeGpu, FakeLibcuda


def module(name: str, **members: Any) -> ModuleType:
    """A module made of `members`."""
    result = ModuleType(name)
    vars(result).update(members)
    return result


def install(monkeypatch: pytest.MonkeyPatch) -> FakeGpu:
    """Both bindings installed over one fake GPU, its driver, and a compiler."""
    gpu = FakeGpu()
    driver, core = fake_pycuda(gpu), fake_cuda_core(gpu)
    packages = (module("pycuda", driver=driver), module("cuda", core=core))
    for fake in (*packages, driver, core):
        monkeypatch.setitem(sys.modules, fake.__name__, fake)
    for adapter in ("engines.pycuda_device", "engines.cuda_core_device"):
        monkeypatch.setattr(f"{adapter}.cubin", lambda source, arch: f"cubin for {arch}".encode())
    monkeypatch.setattr("engines.pycuda_device._contexts", {})
    monkeypatch.setattr("engines.cuda_graph.open_driver", lambda: FakeLibcuda(gpu))
    return gpu


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
            gpu.must_be_current()
            gpu.release(self.address)

    class Context:
        def push(self) -> None:
            gpu.depth += 1

        @staticmethod
        def pop() -> None:
            gpu.depth -= 1

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
        def __init__(self, flags: int) -> None:
            assert flags == 1, "blocking"
            gpu.must_be_current()
            self.handle = gpu.stream

        def __del__(self) -> None:
            gpu.closed = True

        def synchronize(self) -> None:
            gpu.must_be_current()
            gpu.synchronise()

    class Event:
        def record(self, stream: Stream) -> None:
            self.time = 5.0 * gpu.synchronised

        def synchronize(self) -> None:
            gpu.must_be_current()
            gpu.synchronise()

        def time_since(self, other: Event) -> float:
            gpu.must_be_current()
            return self.time - other.time

    class Function:
        def prepare(self, formats: list[str]) -> None:
            self.formats = formats

        def prepared_async_call(
            self, grid: tuple[int, int], block: tuple[int, ...], stream: Stream, *values: Any
        ) -> None:
            gpu.must_be_current()
            gpu.launched.append((grid[0], block[0], "".join(self.formats), *values))

    class PagelockedHostAllocation:
        def __init__(self, size: int) -> None:
            self.memory = (ctypes.c_ubyte * size)()
            self.address = gpu.pin(self.memory)
            self.__array_interface__ = {
                "shape": (size,), "typestr": "|u1", "data": (self.address, False), "version": 3,
            }  # fmt: skip

        def free(self) -> None:
            gpu.must_be_current()
            gpu.unpin(self.address)

    class PinnedArray(np.ndarray[Any, np.dtype[Any]]):
        """An array whose `base` is the allocation, as PyCUDA's is, and not a view's array."""

        owner: PagelockedHostAllocation

        @property
        def base(self) -> Any:
            return self.owner

    def pagelocked_empty(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        if size > 2**20:
            raise OutOfMemory("cuMemHostAlloc failed: out of memory")
        owner = PagelockedHostAllocation(size)
        array: PinnedArray = np.asarray(owner).view(dtype).reshape(shape).view(PinnedArray)
        array.owner = owner
        return array

    def memcpy_htod_async(address: int, array: Any, stream: Stream) -> None:
        assert array.flags.c_contiguous
        gpu.upload(address, array.ctypes.data, array.nbytes)

    def memcpy_dtoh_async(array: Any, address: int, stream: Stream) -> None:
        assert array.flags.c_contiguous
        gpu.download(array.ctypes.data, address, array.nbytes)

    def module_from_buffer(code: bytes) -> SimpleNamespace:
        if code != b"cubin for sm_87":
            raise Error("cuModuleLoadDataEx failed: device kernel image is invalid")
        return SimpleNamespace(get_function=lambda name: Function())

    return module(
        "pycuda.driver",
        init=lambda: None,
        mem_alloc=Allocation,
        pagelocked_empty=pagelocked_empty,
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
            gpu.upload(self.handle, source.handle, source.size)

        def copy_to(self, target: FakeBuffer, *, stream: Stream) -> None:
            assert self.size == target.size
            gpu.download(target.handle, self.handle, self.size)

        def close(self, stream: Stream | None = None) -> None:
            if stream is None:
                gpu.unpin(self.handle)
            else:
                gpu.submit(lambda: gpu.release(self.handle))

    class LegacyPinnedMemoryResource:
        def allocate(self, size: int) -> FakeBuffer:
            if size > 2**20:
                raise RuntimeError("CUDA_ERROR_OUT_OF_MEMORY: The API call failed")
            return FakeBuffer(gpu.pin((ctypes.c_ubyte * size)()), size)

    class EventOptions:
        def __init__(self, timing_enabled: bool) -> None:
            assert timing_enabled

    class Event:
        def __init__(self) -> None:
            self.time = 5.0 * gpu.synchronised

        def sync(self) -> None:
            gpu.synchronise()

        def __sub__(self, other: Event) -> float:
            return self.time - other.time

    class Stream:
        handle = gpu.stream

        def sync(self) -> None:
            gpu.synchronise()

        def record(self, options: EventOptions) -> Event:
            return Event()

        def close(self) -> None:
            gpu.synchronise()
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
        LegacyPinnedMemoryResource=LegacyPinnedMemoryResource,
        EventOptions=EventOptions,
        ObjectCode=ObjectCode,
        LaunchConfig=LaunchConfig,
        launch=launch,
    )
