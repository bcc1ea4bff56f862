"""What each TensorRT library can do for a build, asked by attribute.

Version numbers say nothing here: a name that was removed in 11 or never came to TensorRT for RTX
is looked for, so that the next version needs no new line unless it takes something away.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType

from engines.tensorrt_runtime import LIBRARIES, load_library

__all__ = ["LIBRARIES", "Abilities", "abilities", "load_library", "title"]


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
