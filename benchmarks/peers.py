"""Who our engines are compared with, as far as it is installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Collection, Sequence

from benchmarks.contenders import Contender, Frame, plain_onnxruntime
from engines.bundle import Bundle
from engines.failures import UsageError, hint

ONNXRUNTIME = "onnxruntime-fp32"
TORCH = ("torch-eager", "torch-eager-channels-last", "torch-compiled-channels-last")
OPENVINO = ("openvino-fp32", "openvino-default", "openvino-nncf-int8")
ALL = (ONNXRUNTIME, *TORCH, *OPENVINO)
NNCF_FRAMES = 300  # that NNCF calibrates on by default


def peers(
    bundle: Bundle,
    threads: int,
    calibration: Sequence[Frame],
    wanted: Collection[str] = ALL,
) -> tuple[list[Contender], dict[str, str]]:
    """Those `wanted` that can run here, and for each other one why not.

    `calibration` are frames of the training split, for whoever quantizes by itself.
    """
    found, skipped = [], {}
    for name in wanted:
        reason = why_not(name, bundle, calibration)
        if reason is None:
            found.append(peer(name, bundle, threads, calibration))
        else:
            skipped[name] = reason
    return found, skipped


def check_names(wanted: Collection[str]) -> Collection[str]:
    """The names themselves; one that no peer has is a `UsageError`."""
    for name in wanted:
        if name not in ALL:
            raise UsageError(f"--peers: there is no {name!r}; {hint(name, ALL)}")
    return wanted


def why_not(name: str, bundle: Bundle, calibration: Sequence[Frame]) -> str | None:
    """Why a peer cannot run, or None."""
    if name in TORCH and bundle.manifest.find("checkpoint") is None:
        return "the bundle was built from ONNX and holds no checkpoint"
    if name in TORCH and missing("torch"):
        return "PyTorch is not installed: pip install -e '.[train]'"
    if name in OPENVINO and (missing("openvino") or missing("nncf")):
        return "not installed: pip install openvino nncf"
    if name == OPENVINO[2] and not calibration:
        return "no frames to calibrate on: see --calibration-split"
    return None


def peer(name: str, bundle: Bundle, threads: int, calibration: Sequence[Frame]) -> Contender:
    """One that can run; its library is imported only now."""
    if name == ONNXRUNTIME:
        return plain_onnxruntime(bundle, threads)
    if name in TORCH:
        from benchmarks.torch_peers import torch_peer

        return torch_peer(name, bundle, threads)
    from benchmarks.openvino_peers import nncf_int8, openvino_default, openvino_fp32

    if name == OPENVINO[2]:
        return nncf_int8(bundle, threads, calibration)
    return (openvino_fp32 if name == OPENVINO[0] else openvino_default)(bundle, threads)


def missing(package: str) -> bool:
    """Whether a package is not installed."""
    return importlib.util.find_spec(package) is None
