"""Frames of several cameras in one run of a plan: `runtime.batches` for `runtime.gpu_path`."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from engines.device import Buffer
from engines.failures import Failure
from engines.gpu_pixels import GpuPixels
from runtime.batches import Work
from runtime.gpu_path import DeviceSession, GpuPath


class GpuBatch:
    """Up to as many frames a run as the plan's profile takes; use with `with`, in the session's.

    Each path brings its frame up and fits it; the model inputs are put side by side, and each path
    goes on with its own logits. All is queued in the inference thread, as that of a single path.

    Args:
        session: Of all paths; it stays the caller's to close.
    """

    def __init__(self, session: DeviceSession) -> None:
        self._session, spec = session, session.spec
        self._size = spec.input_size
        self._input_bytes = 3 * self._size[0] * self._size[1]
        self._logits_bytes = 4 * len(spec.classes) * spec.logits_size[0] * spec.logits_size[1]
        self._pixels = GpuPixels(session.device)
        self._inputs = self._pixels.device.allocate(session.most_frames * self._input_bytes)

    @property
    def most_frames(self) -> int:
        """Of the plan's profile."""
        return self._session.most_frames

    def infer(self, work: Sequence[Work]) -> list[Any]:
        """As `Batches.infer`; a single frame goes its path's own way, which has no copy."""
        paths = [_gpu_path(path) for path, _ in work]
        frames = [frame for _, frame in work]
        if len(work) == 1:
            return [_tried(paths[0].infer, frames[0])]
        wall, cpu = time.perf_counter(), time.thread_time()
        outcomes = self._run(paths, frames)
        wall, cpu = time.perf_counter() - wall, time.thread_time() - cpu
        for path in paths:
            path.timings.add("infer", wall, cpu / len(paths))
        return outcomes

    def close(self) -> None:
        """Give the memory on the device back."""
        self._pixels.close()

    def __enter__(self) -> GpuBatch:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _run(self, paths: Sequence[GpuPath], frames: Sequence[Any]) -> list[Any]:
        outcomes = [_tried(path.take, frame) for path, frame in zip(paths, frames, strict=True)]
        taken = [place for place, it in enumerate(outcomes) if not isinstance(it, Failure)]
        if not taken:
            return outcomes
        for slot, place in enumerate(taken):
            self._put(outcomes[place], slot)
        logits = self._session.run_on_device(self._inputs, len(taken))
        for slot, place in enumerate(taken):
            own = Buffer(logits.address + slot * self._logits_bytes, self._logits_bytes)
            outcomes[place] = _tried(paths[place].finish, frames[place], outcomes[place], own)
        return outcomes

    def _put(self, model_input: Buffer, slot: int) -> None:
        """Copy a model input to its place: rows of RGB without padding stay what they are."""
        (height, width), size = self._size, self._input_bytes
        place = Buffer(self._inputs.address + slot * size, size)
        pixels = height * width
        self._pixels.run("pack_rgb", pixels, model_input, height, width, 3 * width, 0, place)


def _gpu_path(path: Any) -> GpuPath:
    assert isinstance(path, GpuPath), f"{type(path).__name__} is no way over a GPU"
    return path


def _tried(step: Callable[..., Any], *arguments: Any) -> Any:
    """What a step of one path gives, or the `Failure` that is that path's alone."""
    try:
        return step(*arguments)
    except Failure as failure:
        return failure
