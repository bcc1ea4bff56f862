"""A device lent to a part of the program, which gives back what it took without closing the GPU."""

from __future__ import annotations

from typing import Any, cast

from engines.device import Buffer, Device


class _Borrowed:
    """Everything goes to the device; `close` frees the buffers that were allocated here."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._buffers: dict[int, Buffer] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._device, name)

    def allocate(self, size: int) -> Buffer:
        buffer = self._device.allocate(size)
        self._buffers[buffer.address] = buffer
        return buffer

    def free(self, buffer: Buffer) -> None:
        del self._buffers[buffer.address]
        self._device.free(buffer)

    def close(self) -> None:
        for buffer in list(self._buffers.values()):
            self.free(buffer)


def borrow(device: Device) -> Device:
    """The same GPU and stream; closing this one frees only what was allocated through it."""
    return cast(Device, _Borrowed(device))
