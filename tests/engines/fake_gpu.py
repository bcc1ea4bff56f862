"""A GPU of a few kilobytes, and the driver's graphs on it.

It is as lazy as a real one: what is queued runs when somebody waits for it, so that a missing wait
is seen.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

Work = Callable[[], None]


class FakeGpu:
    """Memory by address, a queue of work, and a log of what was launched, for all fakes."""

    stream = 77

    def __init__(self) -> None:
        self.memory: dict[int, bytearray] = {}
        self.pinned: dict[int, Any] = {}  # address -> what keeps the host's memory alive
        self.queue: list[Work] = []
        self.graphs: dict[int, list[Work]] = {}
        self.capturing: list[Work] | None = None
        self.launched: list[tuple[Any, ...]] = []
        self.depth = 0  # contexts pushed and not popped
        self.current = False
        self.next_address = 0x1000
        self.synchronised = 0
        self.closed = False

    def submit(self, work: Work) -> None:
        """Queue work, or add it to the graph that is being captured."""
        self.must_be_current()
        (self.queue if self.capturing is None else self.capturing).append(work)

    def synchronise(self) -> None:
        """Run what is queued."""
        assert self.capturing is None, "cudaErrorStreamCaptureUnsupported"
        self.synchronised += 1
        queue, self.queue = self.queue, []
        for work in queue:
            work()

    def allocate(self, size: int) -> int | None:
        """The address, or None for more than 1 MB."""
        self.must_be_current()
        assert self.capturing is None
        if size > 2**20:
            return None
        address, self.next_address = self.next_address, self.next_address + size + 256
        self.memory[address] = bytearray(size)
        return address

    def release(self, address: int) -> None:
        del self.memory[address]

    def pin(self, memory: Any) -> int:
        """Remember a ctypes array as page-locked; its address."""
        self.must_be_current()
        address = ctypes.addressof(memory)
        self.pinned[address] = memory
        return address

    def unpin(self, address: int) -> None:
        assert not self.queue, "page-locked memory was freed under queued work"
        del self.pinned[address]

    def upload(self, address: int, source: int, size: int) -> None:
        """Copy from the host when its turn comes, also from memory that is not page-locked."""
        self.submit(lambda: self.write(address, ctypes.string_at(source, size)))

    def download(self, target: int, address: int, size: int) -> None:
        """Copy to the host, when its turn comes."""

        def copy() -> None:
            ctypes.memmove(target, self.read(address, size), size)

        self.submit(copy)

    def write(self, address: int, data: bytes) -> None:
        assert len(data) <= len(self.memory[address])
        self.memory[address][: len(data)] = data

    def read(self, address: int, size: int) -> bytes:
        assert size <= len(self.memory[address])
        return bytes(self.memory[address][:size])

    def must_be_current(self) -> None:
        assert self.depth or self.current


class FakeLibcuda:
    """libcuda's stream capture over a fake GPU; `broken` names what fails."""

    def __init__(self, gpu: FakeGpu, broken: str = "") -> None:
        self.gpu, self.broken = gpu, broken

    def cuStreamBeginCapture_v2(self, stream: Any, mode: int) -> int:  # noqa: N802
        assert (stream.value, mode) == (self.gpu.stream, 1)
        self.gpu.must_be_current()
        if self.broken == "begin":
            return 1
        self.gpu.capturing = []
        return 0

    def cuStreamEndCapture(self, stream: Any, graph: Any) -> int:  # noqa: N802
        captured, self.gpu.capturing = self.gpu.capturing, None
        if self.broken == "end":
            return 901  # CUDA_ERROR_STREAM_CAPTURE_INVALIDATED
        graph._obj.value = len(self.gpu.graphs) + 1
        self.gpu.graphs[graph._obj.value] = captured or []
        return 0

    def cuGraphInstantiateWithFlags(self, executable: Any, graph: Any, flags: Any) -> int:  # noqa: N802
        executable._obj.value = graph.value + 100
        self.gpu.graphs[executable._obj.value] = self.gpu.graphs[graph.value]
        return 0

    def cuGraphLaunch(self, executable: Any, stream: Any) -> int:  # noqa: N802
        if self.broken == "launch":
            return 700
        for work in self.gpu.graphs[executable.value]:
            self.gpu.submit(work)
        return 0

    def cuGraphDestroy(self, graph: Any) -> int:  # noqa: N802
        del self.gpu.graphs[graph.value]
        return 0

    def cuGraphExecDestroy(self, executable: Any) -> int:  # noqa: N802
        assert not self.gpu.queue, "a graph was destroyed under queued work"
        del self.gpu.graphs[executable.value]
        return 0

    def cuGetErrorName(self, code: int, text: Any) -> int:  # noqa: N802
        text._obj.value = b"CUDA_ERROR_STREAM_CAPTURE_INVALIDATED" if code == 901 else None
        return 0
