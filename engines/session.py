"""What runs a model: one small interface, one implementation per target."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from engines.bundle import Bundle
from engines.choice import choose_cpu_target
from engines.failures import DeviceMissing, UsageError
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


def resolve_target(target: str) -> str:
    """What `auto` means on this machine: the one place that decides it."""
    return "cpu" if target == "auto" else target


def choose_target(bundle: Bundle, target: str, precision: str) -> tuple[str, str]:
    """The target to run a precision (or `auto`) on, and why; see `engines.choice` for the CPU's."""
    resolved = resolve_target(target)
    if target != "auto":
        return target, f"{target}: as asked"
    if resolved != "cpu":
        return resolved, f"{resolved}: what this machine has"
    return choose_cpu_target(bundle.report(), precision)


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
    target = resolve_target(target)
    if target not in TARGETS:
        raise UsageError(f"unknown target {target!r}; known: {', '.join(TARGETS)}")
    if target in CPU_TARGETS:
        graph = bundle.read(bundle.graph(precision, flavour, target))
        return cpu_session(target, graph, bundle.spec, precision, threads)
    raise DeviceMissing(
        f"target {target} cannot run here: executing plans needs an NVIDIA GPU, and this version "
        "builds plans but runs the cpu target alone; use --target cpu"
    )


def cpu_session(
    target: str, graph: bytes, spec: ModelSpec, precision: str, threads: int | None = None
) -> Session:
    """A serialised graph on one of `CPU_TARGETS`."""
    if target == "openvino":
        from engines.openvino_session import OpenVinoSession

        return OpenVinoSession(graph, spec, precision, threads)
    from engines.onnxruntime_session import OnnxRuntimeSession

    return OnnxRuntimeSession(graph, spec, precision, threads)
