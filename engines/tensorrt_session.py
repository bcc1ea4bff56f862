"""The `tensorrt` and `tensorrt-rtx` targets: a plan of the bundle on an NVIDIA GPU."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.bundle import Bundle
from engines.cuda_graph import CaptureFailed, CudaGraph
from engines.device import Buffer, Device, open_device
from engines.failures import DeviceMissing, Refused
from engines.golden_test import require_golden
from engines.guarded_device import guarded
from engines.plan_check import checked_plan
from engines.plan_context import PlanContext
from engines.plan_sidecar import Environment, PlanSidecar, environment, rebuild_command, remarks
from engines.runtime_cache import RuntimeCache
from engines.spec import ModelSpec
from engines.tensorrt_runtime import load_library, require_support


class TensorRtSession:
    """One plan with its buffers, bound once. `open_tensorrt` is the way to a tested one.

    What is queued runs on `device.stream`, in the order of the calls.

    Args:
        trt: tensorrt or tensorrt_rtx.
        plan: Its content, whose hash was checked.
        sidecar: Which was compared with `here`.
        here: This machine.
        spec: Of the model.
        device: The GPU; None opens one, which is closed with the session.
    """

    def __init__(
        self,
        trt: ModuleType,
        plan: bytes,
        sidecar: PlanSidecar,
        here: Environment,
        spec: ModelSpec,
        device: Device | None = None,
    ) -> None:
        self.spec, self.precision, self.target = spec, sidecar.precision, sidecar.target
        self.most_frames = sidecar.batch[2]
        self._library = f"{trt.__name__} {trt.__version__}"
        self._remarks = remarks(sidecar, here)
        self._graph: CudaGraph | None = None
        self._bound: tuple[Buffer, int] | None = None
        self._runs = 0  # since the last binding
        self._lock = threading.Lock()
        self._lifetime = ExitStack()
        self.closed = False
        try:
            self._open(trt, plan, sidecar, here, device)
        except BaseException:
            self.close()
            raise

    @property
    def description(self) -> str:
        """One line for people."""
        facts = [self._library, self.device.description, self._launching, *self._remarks]
        return f"{self.precision} on {self.target} ({', '.join(facts)})"

    def run(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Logits [N, C, h, w] of frames [N, H, W, 3]; N is at most `most_frames`."""
        self.spec.check_input(frames)
        count = len(frames)
        with self._lock:
            self._check(count)
            np.copyto(self._host_frames[:count], frames)
            self.device.upload(self._host_frames[:count], self.input)
            self._queue(self.input, count)
            self.device.download(self.output, self._host_logits[:count])
            return self._host_logits[:count].copy()

    def run_on_device(self, frames: Buffer, count: int = 1) -> Buffer:
        """Queue a run of `count` frames that are on the device; where their logits will be.

        The logits are float32 [count, C, h, w] until the next run. Frames that stand in `input`
        are the fastest: for those of another buffer the CUDA graph is captured anew.
        """
        with self._lock:
            self._check(count)
            self._queue(frames, count)
            return self.output

    def store_cache(self) -> None:
        """Keep on disk what the library compiled for this GPU, where it does that."""
        with self.device.current():
            self._plan.store_cache()

    def close(self) -> None:
        """Free the plan and all memory; a second time does nothing."""
        with self._lock:
            self.closed = True
            self._lifetime.close()

    def __enter__(self) -> TensorRtSession:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _open(
        self,
        trt: ModuleType,
        plan: bytes,
        sidecar: PlanSidecar,
        here: Environment,
        device: Device | None,
    ) -> None:
        self.device = device or guarded(open_device())
        if device is None:
            self._lifetime.callback(self.device.close)
        frames = (self.most_frames, *self.spec.input_size, 3)
        logits = (self.most_frames, len(self.spec.classes), *self.spec.logits_size)
        self._host_frames = self._pinned(frames, np.uint8)
        self._host_logits = self._pinned(logits, np.float32)
        self.input = self._buffer(self._host_frames.nbytes)
        self.output = self._buffer(self._host_logits.nbytes)
        with self.device.current():
            self._plan = PlanContext(
                trt, plan, self.spec, lambda config: RuntimeCache(config, sidecar.plan.sha256, here)
            )
        self._lifetime.callback(self._close_plan)
        self._captures = not self._plan.captures_itself
        self._launching = "CUDA graph"
        self._bind(self.input, self.most_frames)  # finds out whether the profile is as told

    def _queue(self, frames: Buffer, count: int) -> None:
        if self._bound != (frames, count):
            self._bind(frames, count)
        # TensorRT wants one plain run after each change of the shape, before the capture.
        if self._captures and self._runs == 1:
            self._capture()
        if self._graph is not None:
            self._graph.launch()
        else:
            self._enqueue()
        self._runs += 1

    def _bind(self, frames: Buffer, count: int) -> None:
        self.device.synchronise()
        self._drop_graph()
        with self.device.current():
            self._plan.frames(count)
            self._plan.bind(frames, self.output)
        self._bound, self._runs = (frames, count), 0

    def _capture(self) -> None:
        """A graph of the run; a plan that cannot be captured is enqueued each time, and that is
        told in the description."""
        try:
            self._graph = self.device.capture(self._enqueue)
        except (CaptureFailed, DeviceMissing) as error:
            self._captures = False
            self._launching = f"no CUDA graph: {error}"

    def _enqueue(self) -> None:
        with self.device.current():
            self._plan.enqueue(self.device.stream)

    def _check(self, count: int) -> None:
        if self.closed:
            raise RuntimeError("this session is closed")
        if not 1 <= count <= self.most_frames:
            raise ValueError(f"the plan takes 1 to {self.most_frames} frames a run, got {count}")

    def _pinned(self, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        array = self.device.pinned(shape, dtype)
        self._lifetime.callback(self.device.free_pinned, array)
        return array

    def _buffer(self, size: int) -> Buffer:
        buffer = self.device.allocate(size)
        self._lifetime.callback(self.device.free, buffer)
        return buffer

    def _drop_graph(self) -> None:
        if self._graph is not None:
            self._graph.close()
            self._graph = None

    def _close_plan(self) -> None:
        self.device.synchronise()
        self._drop_graph()
        with self.device.current():
            try:
                self._plan.store_cache()
            finally:  # a full disk is no reason to free the GPU's memory under a plan
                self._plan.close()


def open_tensorrt(
    bundle: Bundle, precision: str, target: str, device: Device | None = None
) -> TensorRtSession:
    """A session on the bundle's plan, after its sidecar was compared with this machine, its hash
    checked, and its labels of the golden frames with FP32's.

    Raises:
        DeviceMissing: The library, a GPU or its memory is missing.
        UsageError: No such plan was built.
        Refused: The plan is not for this machine or model, is not what was built, or is wrong.
    """
    trt = load_library(target)
    here = environment(trt.__name__)
    require_support(trt, here)
    file, sidecar = checked_plan(bundle, target, precision, here)
    rebuild = rebuild_command(bundle.root, target, precision, sidecar)
    try:
        session = TensorRtSession(trt, bundle.read(file), sidecar, here, bundle.spec, device)
    except Refused as error:
        raise Refused(f"{bundle.root / file.name}: {error}; build it again: {rebuild}") from error
    try:
        require_golden(session, bundle, rebuild)
        session.store_cache()
    except BaseException:
        session.close()
        raise
    return session
