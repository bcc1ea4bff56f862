"""Whether a GPU can run a bundle here: what `--target auto` asks first."""

from __future__ import annotations

from engines.bundle import Bundle
from engines.device import open_device
from engines.failures import DeviceMissing, Failure
from engines.plan_check import checked_plan
from engines.plan_sidecar import environment
from engines.tensorrt_runtime import LIBRARIES, load_library, require_support


def choose_gpu_target(bundle: Bundle, precision: str = "auto") -> tuple[str | None, str]:
    """The target whose plan this machine can run, or None; and why, in words.

    It is a target for which the bundle has a plan in this precision (or `auto`) that fits the
    library and the GPU that are here; `tensorrt` before `tensorrt-rtx`, whose INT8 layers run in
    float more often. Nothing of a plan is read yet: it may still fail its self-test, and then that
    is an error, and not another target.
    """
    reasons = []
    for target in LIBRARIES:
        if any(file.kind == "plan" and file.target == target for file in bundle.manifest.files):
            try:
                return target, f"{target}: {_gpu_for(bundle, target, precision)}"
            except Failure as error:
                reasons.append(f"no {target} ({error})")
    return None, "; ".join(reasons) or "the bundle has no plan for a GPU"


def _gpu_for(bundle: Bundle, target: str, precision: str) -> str:
    """The GPU that runs the target's plan; a `Failure` says why none does."""
    if precision == "auto":
        precision, _ = bundle.choose_precision(target)
    trt = load_library(target)
    here = environment(trt.__name__)
    if here.gpu is None:
        raise DeviceMissing("no NVIDIA GPU here")
    require_support(trt, here)
    checked_plan(bundle, target, precision, here)
    device = open_device()
    device.close()
    return f"the bundle has a plan for {device.description}"
