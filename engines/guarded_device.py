"""A GPU that may fail in the middle of a run: one sentence tells it, and closing it is quiet.

After an illegal access, a hardware error or a reset, every further call of the process fails, and
its memory is lost. CUDA has no way back but a new process ("the process must be terminated and
relaunched", cudaErrorIllegalAddress), so nothing is built anew here: what runs the stream starts it
again, as deploy/deeplab-stream.service does.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, cast

from engines.device import Device
from engines.failures import DeviceLost

BINDINGS = ("pycuda", "cuda")  # whose exceptions are the driver's: pycuda._driver, cuda.core
# What closing calls; of a GPU that is lost it is the end of the process that gives all back.
ENDINGS = ("free", "free_pinned", "synchronise", "current", "close")


class _Guarded:
    """Everything goes to the device until the driver fails."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._lost: str | None = None  # why

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._device, name)
        return self._watched(name, value) if callable(value) else value

    def _watched(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*arguments: Any) -> Any:
            if self._lost is not None:
                if name in ENDINGS:
                    return nullcontext()
                raise DeviceLost(self._lost)
            try:
                return call(*arguments)
            except Exception as error:
                if type(error).__module__.partition(".")[0] not in BINDINGS:
                    raise
                self._lost = str(error)
                raise DeviceLost(self._lost) from error

        return watched


def guarded(device: Device) -> Device:
    """The same GPU; a failure of its driver is `DeviceLost`, and closing it afterwards is quiet."""
    return cast(Device, _Guarded(device))
