"""The machine that a measurement belongs to. No host name, user or path: reports travel."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path

CPU_INFO = Path("/proc/cpuinfo")
BOARD = Path("/proc/device-tree/model")  # a Jetson or Raspberry Pi says here what it is


def describe_machine(*packages: str) -> dict[str, str | int | float]:
    """Processor, usable cores, load, platform, and the versions of Python and of `packages`.

    `load` is the system's one-minute load average: far above the program's own threads, it says
    that others were computing too and timings are too long. A package that is missing is left out.
    """
    facts: dict[str, str | int | float] = {
        "cpu": cpu_name(),
        "cores": usable_cores(),
        "load": round(os.getloadavg()[0], 1),
        "platform": platform_name(),
        "python": platform.python_version(),
    }
    for package in packages:
        try:
            facts[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return facts


def platform_name() -> str:
    """Operating system and processor, such as linux-x86_64 or linux-aarch64."""
    return f"{platform.system()}-{platform.machine()}".lower()


def usable_cores() -> int:
    """Cores that this process may run on, which a container may have cut down."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def sums_saturate() -> bool:
    """Whether fast INT8 kernels add products in 16 bits here: x86 without VNNI, which Intel has
    since 2019 and AMD since Zen 4. False where nothing tells what the processor can."""
    if platform.machine() != "x86_64" or not CPU_INFO.is_file():
        return False
    return "vnni" not in CPU_INFO.read_text(errors="replace")


def cpu_name() -> str:
    """The board's name where there is one (ARM), else the processor's."""
    if BOARD.is_file():
        return BOARD.read_text(errors="replace").rstrip("\0\n")
    if CPU_INFO.is_file():
        for line in CPU_INFO.read_text(errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()
