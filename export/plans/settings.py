"""What the builder is told: one frozen record; and the defaults of each target, with reasons."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from engines.failures import Refused, UsageError
from export.plans.library import abilities, title

Size = tuple[int, int]  # height, width


@dataclass(frozen=True)
class TargetDefaults:
    """How a target is treated unless told otherwise; every default has its reason."""

    depthwise_int8: bool
    reason: str


DEFAULTS = {
    "tensorrt": TargetDefaults(
        depthwise_int8=True,
        reason="TensorRT fuses a depthwise and a pointwise convolution only if both are INT8",
    ),
    "tensorrt-rtx": TargetDefaults(
        depthwise_int8=False,
        reason=(
            "TensorRT for RTX 1.7 pads INT8 depthwise convolutions to groups of four channels: "
            "a plan of 55.8 instead of 9.6 MB (MobileNetV2, 480x360)"
        ),
    ),
}


@dataclass(frozen=True)
class BuildSettings:
    """Everything but the graph and the library that decides what a plan becomes.

    Args:
        precision: The bundle's word for the graph: fp32, fp16, int8 or mixed.
        batch: Least, best and largest number of frames of a run.
        size: Least, best and largest (height, width); None is the graph's own, and nothing else.
        workspace_mb: Scratch memory that a tactic may use.
        optimisation_level: 0 (fast build) to 5 (fast plan); None is the library's default.
        hardware_compatible: A plan for every GPU from Ampere on, instead of the one here.
        compute_capabilities: GPUs to compile for, such as 8.9 or current; RTX alone.
        weakly_typed: Precision by builder flags instead of the graph's types; 10.x alone.
        timing_cache: Where measured tactics are kept; see `export.plans.cache`.
    """

    precision: str
    batch: tuple[int, int, int] = (1, 1, 1)
    size: tuple[Size, Size, Size] | None = None
    workspace_mb: int = 1024
    optimisation_level: int | None = None
    hardware_compatible: bool = False
    compute_capabilities: tuple[str, ...] = ()
    weakly_typed: bool = False
    timing_cache: Path | None = None

    @property
    def dynamic_batch(self) -> bool:
        """Whether one plan takes different numbers of frames."""
        return self.batch != (1, 1, 1)

    @property
    def dynamic_size(self) -> bool:
        """Whether one plan takes frames of different sizes."""
        return self.size is not None and self.size[0] != self.size[2]

    @property
    def int8(self) -> bool:
        """Whether the graph has Q/DQ pairs."""
        return self.precision in ("int8", "mixed")


def require_supported(settings: BuildSettings, trt: ModuleType) -> None:
    """Raise `UsageError` for a setting that this library does not have: never drop it silently;
    and `Refused` for a compute capability that it does not build for."""
    has, name = abilities(trt), title(trt)
    asked = {
        "--weakly-typed": settings.weakly_typed and not has.weak_typing,
        "--timing-cache": settings.timing_cache is not None and not has.timing_cache,
        "--hardware-compatible": settings.hardware_compatible and not has.hardware_compatibility,
        "--compute-capability": settings.compute_capabilities and not has.compute_capabilities,
    }
    for flag, missing in asked.items():
        if missing:
            raise UsageError(f"{flag}: {name} has no such thing: {WITHOUT[flag]}")
    for capability in settings.compute_capabilities:
        compute_capability(trt, capability)


def compute_capability(trt: ModuleType, name: str) -> Any:
    """`8.9` -> SM89, `current` -> CURRENT; what the library cannot compile for is `Refused`."""
    member = "CURRENT" if name == "current" else "SM" + name.replace(".", "")
    known = trt.ComputeCapability.__members__
    if member not in known:
        names = ", ".join(n for n in known if n.startswith("SM"))
        raise Refused(f"{title(trt)} does not build for compute capability {name}, only {names}")
    return known[member]


WITHOUT = {
    "--weakly-typed": "it is strongly typed only; leave the flag out",
    "--timing-cache": (
        "it times nothing while building; its runtime cache, which a session keeps, does that work"
    ),
    "--hardware-compatible": (
        "its plans run on every RTX GPU from Ampere on by default; --compute-capability narrows it"
    ),
    "--compute-capability": (
        "it builds for the GPU it runs on; build on the device, or for all GPUs from Ampere on "
        "with --hardware-compatible"
    ),
}
