"""Which targets can run a model on a platform, and why the others cannot."""

from __future__ import annotations

from dataclasses import dataclass

from engines.platforms import Platform

# TensorRT for RTX's enum ComputeCapability: neither Orin (8.7) nor Thor (11.0), nor Hopper (9.0).
RTX = ((7, 5), (8, 0), (8, 6), (8, 9), (12, 0), (12, 1))
OLDEST = (7, 5)  # of TensorRT 10 and later, and of our own kernels


@dataclass(frozen=True)
class Verdict:
    """Whether a target can run a model here, and with what, or why not."""

    runs: bool
    why: str


def verdicts(here: Platform) -> dict[str, Verdict]:
    """Each target's."""
    if here.libraries["compiled loops"].version is None:
        names = ("cpu", "openvino", "tensorrt", "tensorrt-rtx")
        return dict.fromkeys(names, Verdict(False, "the C++ loops are not compiled"))
    return {
        "cpu": _imported(here, "onnxruntime"),
        "openvino": _imported(here, "openvino"),
        "tensorrt": _plans(here, "tensorrt"),
        "tensorrt-rtx": _plans(here, "tensorrt_rtx"),
    }


def unsupported(here: Platform, name: str) -> str | None:
    """Why this TensorRT cannot use this GPU or driver; None if nothing is known against it."""
    gpu, library = here.gpu, here.libraries[name]
    if gpu is None or library.version is None:
        return None
    what = f"TensorRT {'for RTX ' if name == 'tensorrt_rtx' else ''}{library.version}"
    lacking = f"{what} has no kernels for compute capability {gpu.compute_capability}"
    if name == "tensorrt_rtx":
        return None if gpu.capability in RTX else lacking
    if gpu.capability < OLDEST:
        return lacking
    if gpu.capability == (8, 7) and library.number[:2] == (10, 13):
        return f"{lacking}, which is Orin"  # NVIDIA-ISAAC-ROS/isaac-ros-cli#22
    if library.number >= (11,) and here.jetson and not _fits_jetpack(here):
        return f"{what} is not for JetPack {here.jetpack}: TensorRT 11.4.1 is the first, for 7.2.2"
    if library.number >= (11,) and gpu.cuda_major < 13:
        return f"{what} needs a driver for CUDA 13, this one runs CUDA {gpu.cuda}"
    return None


def bindings(here: Platform) -> list[str]:
    """The CUDA bindings that import."""
    return [name for name in ("pycuda", "cuda.core") if here.libraries[name].version is not None]


def _imported(here: Platform, name: str) -> Verdict:
    library = here.libraries[name]
    if library.version is None:
        return Verdict(False, "not installed" if library.missing else library.error)
    return Verdict(True, f"{name} {library.version}")


def _plans(here: Platform, name: str) -> Verdict:
    imported = _imported(here, name)
    if here.gpu is None:
        return Verdict(False, "no NVIDIA GPU can be used")
    if not imported.runs:
        return imported
    reason = unsupported(here, name)
    if reason is None and not bindings(here):
        reason = "neither PyCUDA nor cuda.core works"
    return Verdict(False, reason) if reason else imported


def _fits_jetpack(here: Platform) -> bool:
    jetpack = tuple(int(part) for part in (here.jetpack or "0").split("."))
    return jetpack >= (7, 2, 2) and here.libraries["tensorrt"].number >= (11, 4, 1)
