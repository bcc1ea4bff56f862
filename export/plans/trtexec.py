"""The command line of NVIDIA's own tool for the build that was made here, ready to paste.

For TensorRT it is `trtexec`, for TensorRT for RTX `tensorrt_rtx`. Neither comes with the pip
packages. Every argument is quoted for a shell, whatever a file is called.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from types import ModuleType

from export.plans.library import abilities
from export.plans.profiles import shapes
from export.plans.settings import BuildSettings

INPUT = "frames"


def command_line(
    trt: ModuleType, settings: BuildSettings, graph: Path, plan: Path, frames: tuple[int, ...]
) -> str:
    """The equivalent command; `frames` is the graph's input shape [N, H, W, 3], -1 where open."""
    has = abilities(trt)
    words = ["tensorrt_rtx" if has.compute_capabilities else "trtexec"]
    words += [f"--onnx={graph}", f"--saveEngine={plan}"]
    if settings.weakly_typed:
        words += ["--fp16"] * (settings.precision != "fp32") + ["--int8"] * settings.int8
    elif has.weak_typing:
        words.append("--stronglyTyped")  # 11 and RTX know nothing else
    words += [f"--memPoolSize=workspace:{settings.workspace_mb}M", "--profilingVerbosity=detailed"]
    if settings.optimisation_level is not None:
        words.append(f"--builderOptimizationLevel={settings.optimisation_level}")
    if settings.hardware_compatible:
        words.append("--hardwareCompatibilityLevel=ampere+")
    if settings.compute_capabilities:
        words.append(_capabilities(settings.compute_capabilities))
    if settings.timing_cache is not None:
        words.append(f"--timingCacheFile={settings.timing_cache}")
    if -1 in frames:
        for name, shape in zip(("min", "opt", "max"), shapes(frames, settings), strict=True):
            words.append(f"--{name}Shapes={INPUT}:{'x'.join(map(str, shape))}")
    return shlex.join([*words, "--skipInference"])


def _capabilities(names: tuple[str, ...]) -> str:
    if names == ("current",):
        return "--useGpu"
    return "--computeCapabilities=" + ",".join(name.replace(".", "") for name in names)
