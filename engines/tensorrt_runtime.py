"""The TensorRT libraries of this machine: which module a target needs, and what it logs."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

from engines.failures import DeviceMissing
from engines.plan_sidecar import Environment

LIBRARIES = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
REMEDIES = {
    "tensorrt": (
        "on a desktop GPU: pip install -e '.[tensorrt]'; on a Jetson it comes with JetPack: "
        "make the environment with python -m venv --system-site-packages"
    ),
    "tensorrt-rtx": "on x86-64 Linux: pip install -e '.[export]'; there is none for a Jetson",
}


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


def require_support(trt: ModuleType, here: Environment) -> None:
    """Raise `DeviceMissing` if the library names the GPUs that it is for, and this is none of them.

    TensorRT for RTX does: not Hopper (9.0), for example, nor a Jetson's (8.7, 11.0).
    """
    known, capability = getattr(trt, "ComputeCapability", None), here.compute_capability
    if known is None or capability is None or hasattr(known, f"SM{capability.replace('.', '')}"):
        return
    raise DeviceMissing(
        f"{trt.__name__} {trt.__version__} is not for {here.gpu} (compute capability {capability}):"
        " use --target tensorrt"
    )


def open_part(trt: ModuleType, part: str, log: Any) -> Any:
    """The library's `Builder` or `Runtime`.

    Raises:
        DeviceMissing: CUDA does not start, which the bindings tell by a TypeError: "factory
            function returned nullptr" (NVIDIA/TensorRT#2913).
    """
    try:
        return getattr(trt, part)(log)
    except TypeError as error:
        raise DeviceMissing(
            f"{trt.__name__} {trt.__version__} does not start ({error}): there is no GPU, or its "
            "driver is too old for this TensorRT; python -m engines.doctor tells what does not fit"
        ) from None


def error_log(trt: ModuleType) -> Any:
    """A logger for the library that prints nothing; its `last` is the last error, in words."""
    severity = trt.ILogger.Severity
    base: Any = trt.ILogger  # the library's own class, known only now

    class ErrorLog(base):  # type: ignore[misc]
        def __init__(self) -> None:
            base.__init__(self)
            self.last = "no reason given in its log"

        def log(self, level: Any, message: str) -> None:
            if level in (severity.ERROR, severity.INTERNAL_ERROR):
                self.last = message.strip()

    return ErrorLog()
