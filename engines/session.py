"""What runs a model: one small interface, one implementation per target."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from engines.bundle import Bundle
from engines.choice import choose_cpu_target
from engines.failures import UsageError
from engines.gpu_target import choose_gpu_target
from engines.manifest import CPU_TARGETS, TARGETS
from engines.spec import ModelSpec


class Session(Protocol):
    """A loaded model. Not for use from two threads at once."""

    @property
    def spec(self) -> ModelSpec: ...

    @property
    def precision(self) -> str: ...

    @property
    def target(self) -> str: ...

    @property
    def description(self) -> str:
        """One line for people: target, precision, library, threads."""
        ...

    def run(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Logits [N, C, h, w] of frames [N, H, W, 3] at the spec's size."""
        ...

    def close(self) -> None: ...

    def __enter__(self) -> Session: ...

    def __exit__(self, *error: object) -> None: ...


def choose_target(bundle: Bundle, target: str, precision: str) -> tuple[str, str]:
    """The target to run a precision (or `auto`) on, and why: the one place that decides it.

    `auto` is the GPU where the bundle has a plan that fits this machine (`engines.gpu_target`), and
    else one of the CPU's (`engines.choice`).
    """
    if target != "auto":
        return target, f"{target}: as asked"
    gpu, why = choose_gpu_target(bundle, precision)
    if gpu is not None:
        return gpu, why
    cpu, reason = choose_cpu_target(bundle.report(), precision)
    return cpu, f"{reason}; {why}"


def open_session(
    bundle: Bundle,
    precision: str,
    target: str = "cpu",
    threads: int | None = None,
    flavour: str | None = None,
) -> Session:
    """Open the model for a target; an unavailable one is an error, never another target.

    `flavour` picks another INT8 graph than the one made for the target.
    """
    target, _ = choose_target(bundle, target, precision)
    if target not in TARGETS:
        raise UsageError(f"unknown target {target!r}; known: {', '.join(TARGETS)}")
    if target in CPU_TARGETS:
        graph = bundle.read(bundle.graph(precision, flavour, target))
        return cpu_session(target, graph, bundle.spec, precision, threads)
    from engines.tensorrt_session import open_tensorrt

    return open_tensorrt(bundle, precision, target)


def cpu_session(
    target: str, graph: bytes, spec: ModelSpec, precision: str, threads: int | None = None
) -> Session:
    """A serialised graph on one of `CPU_TARGETS`."""
    if target == "openvino":
        from engines.openvino_session import OpenVinoSession

        return OpenVinoSession(graph, spec, precision, threads)
    from engines.onnxruntime_session import OnnxRuntimeSession

    return OnnxRuntimeSession(graph, spec, precision, threads)
