"""A `Device` whose kernels run on the host: the same .cu sources, compiled by g++ over a shim.

Buffers are fenced and start full of 0xA5: a write beyond an end or a read of what was never written
shows.
"""

from __future__ import annotations

import ctypes
import hashlib
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.device import THREADS, Argument
from engines.kernels import KernelSource

SHIM = Path(__file__).with_name("cuda_on_host.h")
KERNEL = re.compile(r'extern "C" __global__ void (\w+)\(')
FENCE, GARBAGE = 64, 0xA5


class HostBuffer:
    """Host memory with a fence on both sides."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._memory = np.full(size + 2 * FENCE + 64, GARBAGE, np.uint8)
        start = self._memory.ctypes.data + FENCE
        self._start = FENCE + -start % 64

    @property
    def address(self) -> int:
        return int(self._memory.ctypes.data) + self._start

    @property
    def content(self) -> NDArray[np.uint8]:
        return self._memory[self._start : self._start + self.size]

    def check(self) -> None:
        before, after = self._memory[: self._start], self._memory[self._start + self.size :]
        assert (before == GARBAGE).all(), "a kernel wrote before its buffer"
        assert (after == GARBAGE).all(), "a kernel wrote beyond its buffer"

    def free(self) -> None:
        self.check()


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
        self._buffers: list[HostBuffer] = []
        self.launches: list[str] = []
        self.allocations = 0

    def allocate(self, size: int) -> HostBuffer:
        assert size > 0
        self.allocations += 1
        self._buffers.append(HostBuffer(size))
        return self._buffers[-1]

    def upload(self, array: NDArray[Any], buffer: HostBuffer) -> None:
        assert array.flags.c_contiguous
        assert array.nbytes <= buffer.size
        buffer.content[: array.nbytes] = array.reshape(-1).view(np.uint8)

    def download(self, buffer: HostBuffer, array: NDArray[Any]) -> None:
        assert array.flags.c_contiguous
        assert array.nbytes <= buffer.size
        array.reshape(-1).view(np.uint8)[:] = buffer.content[: array.nbytes]

    def load(self, source: KernelSource) -> Callable[[str], Any]:
        library = ctypes.CDLL(str(self._library(source)))
        library.seed_order(ctypes.c_uint64(self._seed))
        return lambda name: (name, library[f"launch_{name}"])

    def launch(self, kernel: Any, blocks: int, *arguments: Argument) -> None:
        name, function = kernel
        values = [
            ctypes.c_void_p(value.address) if isinstance(value, HostBuffer)
            else np.ctypeslib.as_ctypes_type(type(value))(value.item())
            for value in arguments
        ]  # fmt: skip
        pointers = (ctypes.c_void_p * len(values))(*map(ctypes.addressof, values))
        self.launches.append(name)
        function.restype = ctypes.c_bool
        assert function(pointers, blocks, THREADS), f"{name}: some lanes never reach a barrier"

    def record(self) -> HostEvent:
        return HostEvent()

    def synchronise(self) -> None:
        for buffer in self._buffers:
            buffer.check()

    def close(self) -> None:
        self.synchronise()

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
