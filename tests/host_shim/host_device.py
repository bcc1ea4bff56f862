"""A `Device` whose kernels run on the host: the same .cu sources, compiled by g++ over a shim.

Buffers are fenced and start full of 0xFE, which is -1.7e38 and no index: writing beyond an end and
reading what was never written show.
"""

from __future__ import annotations

import ctypes
import hashlib
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.device import THREADS, Argument, Buffer
from engines.kernels import KernelSource

SHIM = Path(__file__).with_name("cuda_on_host.h")
KERNEL = re.compile(r'extern "C" __global__ void (\w+)\(')
FENCE, ALIGNMENT, GARBAGE = 64, 64, 0xFE


class _Memory:
    """Host memory with a fence on both sides."""

    def __init__(self, size: int) -> None:
        self._bytes = np.full(size + 2 * FENCE + ALIGNMENT, GARBAGE, np.uint8)
        self._start = FENCE + -(self._bytes.ctypes.data + FENCE) % ALIGNMENT
        self._end = self._start + size
        self.address = int(self._bytes.ctypes.data) + self._start

    @property
    def content(self) -> NDArray[np.uint8]:
        return self._bytes[self._start : self._end]

    def check(self) -> None:
        assert (self._bytes[: self._start] == GARBAGE).all(), "a kernel wrote before its buffer"
        assert (self._bytes[self._end :] == GARBAGE).all(), "a kernel wrote beyond its buffer"


class HostEvent:
    def __init__(self) -> None:
        self._time = time.perf_counter()

    def synchronise(self) -> None:
        """Nothing is ever pending."""

    def milliseconds_since(self, earlier: HostEvent) -> float:
        return 1e3 * (self._time - earlier._time)


class HostDevice:
    """Runs threads and blocks in the random order of `seed`; `compiled` keeps the libraries."""

    description = "host shim"
    architecture = "host"
    stream = 0

    def __init__(self, compiled: Path, seed: int = 1) -> None:
        self._compiled, self._seed = compiled, seed
        self._memory: dict[int, _Memory] = {}
        self.launches: list[str] = []
        self.allocations = 0
        self.uploads: list[int] = []  # the size of each, in bytes
        self.downloads: list[int] = []

    @property
    def held(self) -> int:
        """How many buffers there are."""
        return len(self._memory)

    def allocate(self, size: int) -> Buffer:
        assert size > 0
        self.allocations += 1
        memory = _Memory(size)
        self._memory[memory.address] = memory
        return Buffer(memory.address, size)

    def free(self, buffer: Buffer) -> None:
        self._memory.pop(buffer.address).check()

    def pinned(self, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        return np.empty(shape, dtype)

    def free_pinned(self, array: NDArray[Any]) -> None:
        """Python does."""

    def upload(self, array: NDArray[Any], buffer: Buffer) -> None:
        self.uploads.append(array.nbytes)
        self._part(array, buffer)[:] = array.reshape(-1).view(np.uint8)

    def download(self, buffer: Buffer, array: NDArray[Any]) -> None:
        self.downloads.append(array.nbytes)
        array.reshape(-1).view(np.uint8)[:] = self._part(array, buffer)

    def queue_download(self, buffer: Buffer, array: NDArray[Any]) -> None:
        self.download(buffer, array)

    def load(self, source: KernelSource) -> Callable[[str], Any]:
        library = ctypes.CDLL(str(self._library(source)))
        library.seed_order(ctypes.c_uint64(self._seed))
        return lambda name: (name, library[f"launch_{name}"])

    def launch(self, kernel: Any, blocks: int, *arguments: Argument) -> None:
        name, function = kernel
        values = [_word(value) for value in arguments]
        pointers = (ctypes.c_void_p * len(values))(*map(ctypes.addressof, values))
        self.launches.append(name)
        function.restype = ctypes.c_bool
        assert function(pointers, blocks, THREADS), f"{name}: some lanes never reach a barrier"

    def capture(self, work: Callable[[], None]) -> Any:
        raise AssertionError("the shim has no graphs")

    def current(self) -> AbstractContextManager[None]:
        return nullcontext()

    def record(self) -> HostEvent:
        return HostEvent()

    def synchronise(self) -> None:
        for memory in self._memory.values():
            memory.check()

    def close(self) -> None:
        self.synchronise()

    def _part(self, array: NDArray[Any], buffer: Buffer) -> NDArray[np.uint8]:
        assert array.flags.c_contiguous
        assert array.nbytes <= buffer.size
        return self._memory[buffer.address].content[: array.nbytes]

    def _library(self, source: KernelSource) -> Path:
        footer = "\n".join(f"HOST_KERNEL({name})" for name in KERNEL.findall(source.text))
        text = f'#include "{SHIM.name}"\n#line 1 "{source.name}"\n{source.text}\n{footer}\n'
        shim = SHIM.read_text()
        digest = hashlib.sha256(repr((text, shim, source.defines)).encode()).hexdigest()[:16]
        path = self._compiled / f"{Path(source.name).stem}-{digest}.so"
        if not path.is_file():
            self._compile(source, text, path)
        return path

    def _compile(self, source: KernelSource, text: str, path: Path) -> None:
        defines = [f"-D{name}={value}" for name, value in source.defines]
        command = [
            str(shutil.which("g++")), "-O1", "-std=c++17", "-fPIC", "-shared", "-U_FORTIFY_SOURCE",
            "-ffp-contract=off", "-fno-strict-aliasing", "-Wno-unknown-pragmas", "-Wl,-Bsymbolic",
            f"-I{SHIM.parent}", *defines, "-x", "c++", "-", "-o", str(path),
        ]  # fmt: skip
        done = subprocess.run(command, input=text, text=True, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr


def _word(value: Argument) -> ctypes.c_void_p | ctypes.c_int32 | ctypes.c_float:
    if isinstance(value, Buffer):
        return ctypes.c_void_p(value.address)
    if isinstance(value, np.int32):
        return ctypes.c_int32(int(value))
    return ctypes.c_float(float(value))
