"""A frame's way on an NVIDIA GPU: the camera image goes up, labels and picture come down.

    image ─▶ resize ─▶ plan ─▶ evidence of the ─▶ labels or CRF ─▶ colours ─▶ labels, picture
                               frames before

All is queued on one stream, in the inference thread; docs/gpu_path.md tells what crosses the bus.
Text is written on the picture in the drawing thread, on the CPU.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from crf.cuda_crf import CudaCrf
from crf.cuda_temporal import CudaTemporalEvidence
from engines.device import Buffer, Device
from engines.gpu_pixels import Camera, GpuPixels, Labeller, Painter, Size, Stretcher
from engines.preprocess import fit_frame
from engines.spec import ModelSpec
from runtime.frame_path import Labels, Watch, follows
from runtime.overlay import Overlay
from runtime.refiner import CrfRefiner
from runtime.source import Frame, Image
from runtime.timings import Timings


@runtime_checkable
class DeviceSession(Protocol):
    """A session that can leave its logits on the GPU; `engines.tensorrt_session` has it."""

    @property
    def spec(self) -> ModelSpec: ...

    @property
    def device(self) -> Device: ...

    @property
    def most_frames(self) -> int:
        """Of a run."""
        ...

    def run_on_device(self, frames: Buffer, count: int = 1) -> Buffer:
        """Queue a run of uint8 [count, H, W, 3]; where float32 [count, C, h, w] will be."""
        ...


@dataclass(frozen=True)
class Outcome:
    """What came down: labels [H, W], and with a drawer the coloured frame, still without text."""

    labels: Labels
    picture: Image | None


class GpuPath:
    """Everything on the session's device and stream; use with `with`, inside the session's.

    Args:
        session: It stays the caller's to close.
        temporal: Whether to steady the logits by the frames before.
        crf: Settings of the exact CRF, whose `iterations` are counted; None for the arg max.
        drawer: Draws the picture; without one there is none.
        watch: Sees each frame, fitted to the model on the CPU.
    """

    def __init__(
        self,
        session: DeviceSession,
        temporal: bool = False,
        crf: CrfRefiner | None = None,
        drawer: Overlay | None = None,
        watch: Watch | None = None,
    ) -> None:
        self.timings = Timings()
        self._session, self._crf, self._drawer, self._watch = session, crf, drawer, watch
        self._pixels = GpuPixels(session.device)
        self._temporal = _Steadying(self._pixels, session.spec) if temporal else None
        self._work: _FrameWork | None = None

    def prepare(self, frame: Frame) -> Frame:
        """The frame as it is: the GPU does the rest."""
        return frame

    def infer(self, prepared: Frame) -> Outcome:
        """All of it, from the image to labels and picture."""
        with self.timings.measure("infer"):
            model_input = self.take(prepared)
            return self.finish(prepared, model_input, self._session.run_on_device(model_input))

    def take(self, frame: Frame) -> Buffer:
        """The first part of `infer`: the model's input, valid until the next frame."""
        work = self._work_for((frame.image.shape[0], frame.image.shape[1]))
        return work.take(frame.image)

    def finish(self, frame: Frame, model_input: Buffer, logits: Buffer) -> Outcome:
        """The last part of `infer`, for the frame that was taken last and its logits."""
        assert self._work is not None, "no frame was taken"
        scores = logits
        if self._temporal is not None:
            scores = self._temporal.update(frame.time, model_input, logits)
        self._work.label(scores)
        return self._work.outcome()

    def label(self, frame: Frame, inferred: Outcome) -> Labels:
        """The labels that came down."""
        if self._watch is not None:
            with self.timings.measure("drift"):
                self._watch.see(fit_frame(frame.image, self._session.spec.input_size))
        return inferred.labels

    def draw(
        self, frame: Frame, inferred: Outcome, labels: Labels, fps: float, age: float
    ) -> Image | None:
        """The picture that came down, with its text."""
        if self._drawer is None or inferred.picture is None:
            return None
        with self.timings.measure("draw"):
            self._drawer.write(inferred.picture, labels, fps, age)
        return inferred.picture

    def close(self) -> None:
        """Give the memory on the device back."""
        if self._work is not None:
            self._work.close()
            self._work = None
        self._pixels.close()

    def __enter__(self) -> GpuPath:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _work_for(self, size: Size) -> _FrameWork:
        """What frames of this size need; it is made anew when the size changes."""
        if self._work is None or self._work.size != size:
            if self._work is not None:
                self._work.close()
                self._work = None
            self._work = _FrameWork(self._session, size, self._crf, self._drawer)
        return self._work


class _Steadying:
    """The evidence of the frames before, for logits of the model's size."""

    def __init__(self, pixels: GpuPixels, spec: ModelSpec) -> None:
        self._grid = Stretcher(pixels, spec.logits_size, spec.input_size)
        self._evidence = CudaTemporalEvidence(pixels.device, (len(spec.classes), *spec.logits_size))
        self._before = 0.0

    def update(self, now: float, model_input: Buffer, logits: Buffer) -> Buffer:
        """The scores of the frame of time `now`."""
        if not follows(self._before, now):
            self._evidence.forget()
        self._before = now
        return self._evidence.update(self._grid.fit(model_input), logits)


class _FrameWork:
    """Buffers and kernels for frames of one size."""

    def __init__(
        self,
        session: DeviceSession,
        size: Size,
        crf: CrfRefiner | None,
        drawer: Overlay | None,
    ) -> None:
        self.size, self._count = size, size[0] * size[1]
        self._spec, self._settings, self._drawer = session.spec, crf, drawer
        self._pixels = GpuPixels(session.device)
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def take(self, image: Image) -> Buffer:
        """Bring a frame up; the model's input."""
        return self._stretcher.fit(self._camera.take(image))

    def label(self, scores: Buffer) -> None:
        """Labels of the frame that was taken last, and their colours over it."""
        if self._settings is not None:
            self._refine(self._settings, scores)
        else:
            self._labeller.label(scores, self._labels)
        if self._drawer is not None:
            self._painter.blend(
                self._camera.frame, self._labels, self._count, self._drawer.alpha, self._picture
            )

    def outcome(self) -> Outcome:
        """Bring the result down."""
        result = np.empty(self._result.size, np.uint8)
        self._pixels.device.download(self._result, result)
        labels = result[: self._count].reshape(self.size)
        if self._drawer is None:
            return Outcome(labels, None)
        return Outcome(labels, result[self._count :].reshape(*self.size, 3))

    def close(self) -> None:
        """Give all buffers back."""
        self._pixels.close()

    def _open(self) -> None:
        pixels, spec, settings = self._pixels, self._spec, self._settings
        classes, grid = len(spec.classes), spec.logits_size
        self._camera = Camera(pixels, "rgb", self.size)
        self._stretcher = Stretcher(pixels, spec.input_size, self.size)
        # Labels, and the picture behind them, so that one copy brings both down.
        self._result = pixels.device.allocate(self._count * (4 if self._drawer else 1))
        self._labels = Buffer(self._result.address, self._count)
        self._picture = Buffer(self._result.address + self._count, 3 * self._count)
        if settings is not None:
            self._crf = CudaCrf(self.size, classes, settings.params, pixels.device)
        else:
            self._labeller = Labeller(pixels, (classes, *grid), self.size)
        if self._drawer is not None:
            self._painter = Painter(pixels, self._drawer.palette)

    def _refine(self, settings: CrfRefiner, scores: Buffer) -> None:
        deadline = None
        if settings.budget_ms is not None:
            self._pixels.device.synchronise()  # the budget is the CRF's, not the model's
            deadline = time.perf_counter() + settings.budget_ms / 1e3
        iterations = self._crf.run_on_device(
            self._camera.frame, scores, self._spec.logits_size, self._labels, deadline
        )
        settings.iterations[iterations] += 1
