"""An NVIDIA GPU behind a few calls: memory, copies, one stream, events, kernels.

Two bindings offer them, PyCUDA and `cuda.core` (NVIDIA's own, pip-only). Both use the device's
primary context, so that TensorRT and others in the same process can share buffers and streams.
Every call works from any thread, but one device is not for use from two threads at once.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from engines.cuda_graph import CudaGraph
from engines.failures import DeviceMissing, UsageError
from engines.kernels import KernelSource

THREADS = 256  # of a block: what all our kernels are written for


@dataclass(frozen=True)
class Buffer:
    """Memory on the device; `size` in bytes."""

    address: int
    size: int


class Event(Protocol):
    """A point in the stream's work."""

    def synchronise(self) -> None:
        """Wait until the work before it is done."""
        ...

    def milliseconds_since(self, earlier: Any) -> float:
        """The device's time from another event of the same device to this one; both are past."""
        ...


Argument = Buffer | np.int32 | np.float32


class Device(Protocol):
    """One GPU and one stream on it; all work is done in the order of the calls."""

    @property
    def description(self) -> str:
        """One line for people: name, architecture, binding."""
        ...

    @property
    def architecture(self) -> str:
        """What to compile kernels for, such as sm_87."""
        ...

    @property
    def stream(self) -> int:
        """The stream's handle, for other libraries."""
        ...

    def allocate(self, size: int) -> Buffer:
        """`size` bytes, at least one, with arbitrary content.

        Raises:
            DeviceMissing: So much memory is not free.
        """
        ...

    def free(self, buffer: Buffer) -> None:
        """Give a buffer back, once the queued work is done with it."""
        ...

    def pinned(self, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """A page-locked array of the host with arbitrary content: copies from and to it run beside
        the program, and need no staging."""
        ...

    def free_pinned(self, array: NDArray[Any]) -> None:
        """Give an array of `pinned` back, once the queued work is done with it."""
        ...

    def upload(self, array: NDArray[Any], buffer: Buffer) -> None:
        """Copy a C-contiguous array to the start of a buffer. A pinned one may not change until the
        work is done; for any other one this waits."""
        ...

    def download(self, buffer: Buffer, array: NDArray[Any]) -> None:
        """Fill a C-contiguous array from the start of a buffer; waits for it."""
        ...

    def queue_download(self, buffer: Buffer, array: NDArray[Any]) -> None:
        """Queue a `download` into a pinned array, which is filled once the work is done."""
        ...

    def load(self, source: KernelSource) -> Callable[[str], Any]:
        """Compile the source for this device, or take it from the cache: name -> kernel.

        Raises:
            DeviceMissing: No compiler is installed, or the driver does not take its code.
        """
        ...

    def launch(self, kernel: Any, blocks: int, *arguments: Argument) -> None:
        """Queue `blocks` blocks of THREADS threads."""
        ...

    def capture(self, work: Callable[[], None]) -> CudaGraph:
        """What `work` queues, without running it, as one thing to launch again and again.

        `work` may launch, copy pinned arrays and enqueue plans, but neither allocate nor wait.

        Raises:
            CaptureFailed: It did something that a graph cannot hold.
        """
        ...

    def current(self) -> AbstractContextManager[None]:
        """Makes the device current in this thread, for other libraries."""
        ...

    def record(self) -> Event: ...

    def synchronise(self) -> None:
        """Wait until all queued work is done."""
        ...

    def close(self) -> None:
        """Give all buffers and pinned arrays back and release the stream."""
        ...


class Kernels:
    """The kernels of one source on one device: `kernels(name, threads, *arguments)`."""

    def __init__(self, device: Device, source: KernelSource) -> None:
        self._device, self._find = device, device.load(source)
        self._found: dict[str, Any] = {}

    def __call__(self, name: str, threads: int, *arguments: Buffer | int | float) -> None:
        """Queue a kernel on at least `threads` threads; int is passed as int32, float as float32.

        Raises:
            OverflowError: An int beyond 32 bits.
        """
        if name not in self._found:
            self._found[name] = self._find(name)
        values = [_argument(value) for value in arguments]
        self._device.launch(self._found[name], -(-threads // THREADS), *values)


def _argument(value: Buffer | int | float) -> Argument:
    if isinstance(value, int):
        return np.int32(value)
    return np.float32(value) if isinstance(value, float) else value


def uploaded(device: Device, array: NDArray[Any]) -> Buffer:
    """A new buffer with the content of an array."""
    buffer = device.allocate(array.nbytes)
    device.upload(np.ascontiguousarray(array), buffer)
    return buffer


def open_device(binding: str = "auto", index: int = 0) -> Device:
    """Open GPU number `index` through "pycuda" or "cuda-core"; "auto" is the first that can.

    Raises:
        DeviceMissing: No binding is installed, or it finds no such GPU or driver.
        UsageError: An unknown binding.
    """
    if binding not in ("auto", *BINDINGS):
        raise UsageError(f"unknown CUDA binding {binding!r}; known: auto, {', '.join(BINDINGS)}")
    candidates = list(BINDINGS) if binding == "auto" else [binding]
    reasons = []
    for name in candidates:
        try:
            return BINDINGS[name](index)
        except DeviceMissing as error:
            reasons.append(f"{name}: {error}")
    raise DeviceMissing(
        f"no NVIDIA GPU can be used here ({'; '.join(reasons)}); on a machine with one, install "
        "its driver, then: pip install 'deeplab-edge[gpu]'"
    )


def out_of_memory(size: int) -> DeviceMissing:
    """What every binding raises when the device has no `size` bytes."""
    return DeviceMissing(
        f"the GPU has no {size / 1e6:.0f} MB of memory left: close what else runs on it "
        "(nvidia-smi or, on a Jetson, tegrastats tells), or use a smaller frame or --crf off"
    )


def no_pinned_memory(shape: tuple[int, ...], dtype: Any) -> DeviceMissing:
    """What every binding raises when the host cannot lock an array's pages."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return DeviceMissing(
        f"the host has no {size / 1e6:.0f} MB of memory left that may be page-locked: close what "
        "else runs here, or build the plan for a smaller batch"
    )


def does_not_load(source: KernelSource, error: Exception) -> DeviceMissing:
    """What every binding raises when the driver refuses compiled kernels."""
    return DeviceMissing(
        f"the GPU's driver does not load {source.name} ({error}): it may be older than the CUDA "
        "compiler here; update the driver, or install a compiler of its version "
        "(pip install 'cuda-core[cu12]' for CUDA 12)"
    )


def _open_pycuda(index: int) -> Device:
    from engines.pycuda_device import PyCudaDevice

    return PyCudaDevice(index)


def _open_cuda_core(index: int) -> Device:
    from engines.cuda_core_device import CudaCoreDevice

    return CudaCoreDevice(index)


BINDINGS: dict[str, Callable[[int], Device]] = {
    "pycuda": _open_pycuda,
    "cuda-core": _open_cuda_core,
}
