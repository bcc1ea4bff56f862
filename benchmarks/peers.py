"""Who our engines are compared with, as far as it is installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

from benchmarks.contenders import Contender, Frame, plain_onnxruntime
from engines.bundle import Bundle

TORCH = ("torch-eager", "torch-eager-channels-last", "torch-compiled-channels-last")
OPENVINO = ("openvino-fp32", "openvino-default", "openvino-nncf-int8")
NNCF_FRAMES = 300  # that NNCF calibrates on by default


def peers(
    bundle: Bundle, threads: int, calibration: Sequence[Frame]
) -> tuple[list[Contender], dict[str, str]]:
    """The peers that can run here, and for each other one why not.

    `calibration` are frames of the training split, for whoever quantizes by itself.
    """
    result = [plain_onnxruntime(bundle, threads)]
    skipped: dict[str, str] = {}
    if bundle.manifest.find("checkpoint") is None:
        skipped |= dict.fromkeys(TORCH, "the bundle was built from ONNX and holds no checkpoint")
    elif missing("torch"):
        skipped |= dict.fromkeys(TORCH, "PyTorch is not installed: pip install -e '.[train]'")
    else:
        from benchmarks.torch_peers import torch_peer

        result += [torch_peer(name, bundle, threads) for name in TORCH]
    if missing("openvino") or missing("nncf"):
        return result, skipped | dict.fromkeys(OPENVINO, "not installed: pip install openvino nncf")
    from benchmarks.openvino_peers import nncf_int8, openvino_default, openvino_fp32

    result += [openvino_fp32(bundle, threads), openvino_default(bundle, threads)]
    if calibration:
        result.append(nncf_int8(bundle, threads, calibration))
    else:
        skipped[OPENVINO[2]] = "no frames to calibrate on: see --calibration-split"
    return result, skipped


def missing(package: str) -> bool:
    """Whether a package is not installed."""
    return importlib.util.find_spec(package) is None
