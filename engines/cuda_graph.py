"""A CUDA graph: what a stream was given, captured once and launched again with a single call.

Through the driver's own library: PyCUDA (2026.1) has no graphs, and cuda.core moved theirs between
its versions 1.0 and 1.2.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from engines.failures import DeviceLost
from engines.gpu_facts import open_driver

Current = Callable[[], AbstractContextManager[None]]
THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE: other threads may meanwhile do what a capture may not


class CaptureFailed(Exception):
    """The work cannot be held by a graph; the stream is as usable as before."""


class CudaGraph:
    """An executable graph of one stream; `current` makes the stream's device current."""

    def __init__(
        self, driver: Any, stream: int, executable: ctypes.c_void_p, current: Current
    ) -> None:
        self._driver, self._stream = driver, ctypes.c_void_p(stream)
        self._executable, self._current = executable, current

    @staticmethod
    def capture(stream: int, current: Current, work: Callable[[], None]) -> CudaGraph:
        """Record what `work` queues on the stream; nothing of it runs.

        Raises:
            CaptureFailed: `work` did what cannot be captured; what it raises passes through.
        """
        driver: Any = open_driver()
        with current():
            return CudaGraph(driver, stream, _captured(driver, stream, work), current)

    def launch(self) -> None:
        """Queue all of it on the stream.

        Raises:
            DeviceLost: The driver refuses, after an earlier error on the GPU for example.
        """
        with self._current():
            code = self._driver.cuGraphLaunch(self._executable, self._stream)
        if code:
            raise DeviceLost(f"the driver does not launch a CUDA graph, error {code}")

    def close(self) -> None:
        """Free it, once the queued work is done with it."""
        with self._current():
            self._driver.cuGraphExecDestroy(self._executable)


def _captured(driver: Any, stream: int, work: Callable[[], None]) -> ctypes.c_void_p:
    """The executable graph of what `work` queues."""
    handle, graph, executable = ctypes.c_void_p(stream), ctypes.c_void_p(), ctypes.c_void_p()
    _check(driver, driver.cuStreamBeginCapture_v2(handle, THREAD_LOCAL), "begin a capture")
    try:
        try:
            work()
        finally:  # a stream that is left capturing is of no use any more
            code = driver.cuStreamEndCapture(handle, ctypes.byref(graph))
        _check(driver, code, "capture")
        flags = ctypes.c_ulonglong(0)
        code = driver.cuGraphInstantiateWithFlags(ctypes.byref(executable), graph, flags)
        _check(driver, code, "instantiate the captured graph")
    finally:
        if graph:
            driver.cuGraphDestroy(graph)
    return executable


def _check(driver: Any, code: int, what: str) -> None:
    if code:
        text = ctypes.c_char_p()
        driver.cuGetErrorName(code, ctypes.byref(text))
        name = (text.value or b"").decode()
        raise CaptureFailed(f"the driver cannot {what}: {name or f'error {code}'}")
