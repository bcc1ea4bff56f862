"""What the NVIDIA driver says of its GPU, without a CUDA binding: name, capability, versions.

The driver's own library and /proc are asked, so that a machine where nothing is installed yet can
say what it is. Nothing is executed, no context is made.
"""

from __future__ import annotations

import ctypes
import platform
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LIBRARY = {"Linux": "libcuda.so.1", "Windows": "nvcuda.dll"}
KERNEL_MODULE = Path("/proc/driver/nvidia/version")
POWER_STATUS = Path("/var/lib/nvpmodel/status")  # of a Jetson: pmode:0002 fmode:quiet
POWER_MODES = Path("/etc/nvpmodel.conf")
MAJOR, MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR


@dataclass(frozen=True)
class GpuFacts:
    """One GPU; `cuda` is the newest CUDA version that the driver runs."""

    name: str
    compute_capability: str  # 8.7
    cuda: str  # 12.6


def probe_gpu(index: int = 0) -> GpuFacts | None:
    """GPU number `index`, or None where there is no driver or no such GPU."""
    driver = open_driver()
    device, version, major, minor = (ctypes.c_int() for _ in range(4))
    if driver is None or driver.cuInit(0) or driver.cuDeviceGet(ctypes.byref(device), index):
        return None
    name = ctypes.create_string_buffer(256)
    driver.cuDeviceGetName(name, len(name), device)
    driver.cuDeviceGetAttribute(ctypes.byref(major), MAJOR, device)
    driver.cuDeviceGetAttribute(ctypes.byref(minor), MINOR, device)
    driver.cuDriverGetVersion(ctypes.byref(version))  # 12060 is 12.6
    return GpuFacts(
        name.value.decode(errors="replace"),
        f"{major.value}.{minor.value}",
        f"{version.value // 1000}.{version.value % 1000 // 10}",
    )


def driver_version() -> str | None:
    """The version of the loaded kernel module, such as 540.4.0, or None where there is none."""
    found = re.search(r"\d+\.\d+(\.\d+)?", _text(KERNEL_MODULE))
    return found[0] if found else None


def power_mode() -> str | None:
    """A Jetson's power mode, such as MAXN or 15W, or None on other machines."""
    status = re.search(r"pmode:(\d+)", _text(POWER_STATUS))
    if status is None:
        return None
    number = int(status[1])
    modes = re.findall(r"<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+?)\s*>", _text(POWER_MODES))
    names = {int(mode): str(name) for mode, name in modes}
    return names.get(number, str(number))


def _text(path: Path) -> str:
    """The content of a file that only some machines have and some may not read."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def open_driver() -> Any | None:
    """The driver's library (libcuda), or None where no driver is installed."""
    name = LIBRARY.get(platform.system())
    if name is None:
        return None
    try:
        return ctypes.CDLL(name)
    except OSError:
        return None
