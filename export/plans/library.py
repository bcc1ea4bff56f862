"""The TensorRT libraries: how each is loaded, and what it can do, asked by attribute.

Version numbers say nothing here: a name that was removed in 11 or never came to TensorRT for RTX
is looked for, so that the next version needs no new line unless it takes something away.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from types import ModuleType

from engines.failures import DeviceMissing

LIBRARIES = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
REMEDIES = {
    "tensorrt": (
        "on a desktop GPU: pip install -e '.[tensorrt]'; on a Jetson it comes with JetPack: "
        "make the environment with python -m venv --system-site-packages"
    ),
    "tensorrt-rtx": "on x86-64 Linux: pip install -e '.[export]'; there is none for a Jetson",
}


@dataclass(frozen=True)
class Abilities:
    """What one library offers a build.

    Args:
        weak_typing: Precision by builder flags: 10.x alone (deprecated in 10.12, gone in 11).
        timing_cache: Measured tactics can be kept; RTX takes a cache, warns and ignores it.
        progress: It tells how far a build is.
        hardware_compatibility: A plan for every GPU from Ampere on.
        compute_capabilities: A plan for GPUs that are not here: TensorRT for RTX alone.
    """

    weak_typing: bool
    timing_cache: bool
    progress: bool
    hardware_compatibility: bool
    compute_capabilities: bool


def load_library(target: str) -> ModuleType:
    """Import the TensorRT library of a target; if it is not usable here, say why and what to do."""
    name = LIBRARIES[target]
    try:
        return importlib.import_module(name)
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError) and error.name == name:
            reason = f"the Python package {name} is not installed"
        else:
            reason = f"{name} does not load ({str(error).splitlines()[0]})"
        raise DeviceMissing(f"{reason}; {REMEDIES[target]}") from None


def abilities(trt: ModuleType) -> Abilities:
    """What this library can do."""
    # Only TensorRT for RTX compiles for GPUs by name; and only there the timing cache is a no-op
    # and hardware compatibility an ignored setting.
    rtx = hasattr(trt, "ComputeCapability")
    return Abilities(
        weak_typing=hasattr(trt.BuilderFlag, "FP16"),
        timing_cache=hasattr(trt, "ITimingCache") and not rtx,
        progress=hasattr(trt, "IProgressMonitor"),
        hardware_compatibility=hasattr(trt, "HardwareCompatibilityLevel") and not rtx,
        compute_capabilities=rtx,
    )


def title(trt: ModuleType) -> str:
    """The library with its version, for people."""
    return f"{trt.__name__} {trt.__version__}"
