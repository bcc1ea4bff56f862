"""The steps of a frame that `benchmarks/pixels.py` times, on the GPU and on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from crf.cuda_temporal import CudaTemporalEvidence
from crf.temporal import TemporalEvidence
from engines.blend import blend
from engines.device import Buffer, uploaded
from engines.gpu_pixels import Camera, GpuPixels, Labeller, Painter, Size, Stretcher
from engines.labels import upsample_argmax
from engines.preprocess import fit_frame
from engines.twins import upsample
from scenes.street import StreetCamera

ALPHA = 0.5
NOTHING = "nothing: it is there"


@dataclass(frozen=True)
class Step:
    """One step on both sides.

    Args:
        name: Of the step.
        peer: What does it on the CPU.
        gpu: Queues it.
        cpu: Does it and returns the result.
        read: The GPU's result.
        copies: Whether it crosses the bus.
    """

    name: str
    peer: str
    gpu: Callable[[], object]
    cpu: Callable[[], NDArray[Any]]
    read: Callable[[], NDArray[Any]]
    copies: bool = False

    def agreement(self) -> float:
        """The share of equal bytes, or numbers, of both results, when both have done it twice."""
        self.gpu()
        self.cpu()
        self.gpu()
        return float((self.read() == self.cpu()).mean())


@dataclass(frozen=True)
class Frame:
    """What a frame is made of, on the CPU."""

    nv12: NDArray[np.uint8]  # [3 H / 2, W]
    image: NDArray[np.uint8]  # [H, W, 3]
    fitted: NDArray[np.uint8]
    logits: NDArray[np.float32]  # [C, h, w]


def frame(size: Size, model: Size, classes: int) -> Frame:
    """A frame of the street with logits of regions: a coarse random map, enlarged."""
    image = StreetCamera(size, seed=0).scene(0).frame
    picture = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="nv12")
    nv12 = np.asarray(picture.to_ndarray(), np.uint8)
    coarse = np.random.default_rng(0).normal(size=(classes, 9, 12)).astype(np.float32)
    grid = -(-model[0] // 4), -(-model[1] // 4)
    return Frame(nv12, image, fit_frame(image, model), upsample(coarse, grid))


def steps(pixels: GpuPixels, size: Size, model: Size, classes: int) -> Iterator[Step]:
    """All steps for camera images of one size, an even one."""
    made = frame(size, model, classes)
    device, count = pixels.device, size[0] * size[1]
    image, logits = uploaded(device, made.image), uploaded(device, made.logits)
    labels, mixed = device.allocate(count), device.allocate(3 * count)

    def read(
        buffer: Buffer, shape: tuple[int, ...], kind: type[Any] = np.uint8
    ) -> Callable[[], NDArray[Any]]:
        def fetch() -> NDArray[Any]:
            result = np.empty(shape, kind)
            device.download(buffer, result)
            return result

        return fetch

    camera = Camera(pixels, "nv12", size)
    picture, converter = av.VideoFrame.from_ndarray(made.nv12, format="nv12"), VideoReformatter()
    yield Step(
        "RGB up", NOTHING, partial(device.upload, made.image, image), lambda: made.image,
        read(image, (*size, 3)), copies=True,
    )  # fmt: skip
    yield Step(
        "NV12 up, to RGB", "FFmpeg", lambda: camera.take(made.nv12),
        lambda: converter.reformat(picture, format="rgb24", threads=1).to_ndarray(),
        read(camera.frame, (*size, 3)), copies=True,
    )  # fmt: skip
    stretcher = Stretcher(pixels, model, size)
    yield Step(
        "resize", "FFmpeg", lambda: stretcher.fit(image), lambda: fit_frame(made.image, model),
        read(stretcher.fit(image), (*model, 3)),
    )  # fmt: skip
    yield _temporal(pixels, made, logits, read)
    labeller = Labeller(pixels, (classes, made.logits.shape[1], made.logits.shape[2]), size)
    yield Step(
        "labels", "C++, 1 thread", lambda: labeller.label(logits, labels),
        lambda: upsample_argmax(made.logits, size), read(labels, size),
    )  # fmt: skip
    palette = [(37 * n % 256, 91 * n % 256, 53 * n % 256) for n in range(classes)]
    painter, plain = Painter(pixels, palette), upsample_argmax(made.logits, size)
    yield Step(
        "colours", "C++, 1 thread", lambda: painter.blend(image, labels, count, ALPHA, mixed),
        lambda: blend(made.image, plain, palette, ALPHA), read(mixed, (*size, 3)),
    )  # fmt: skip
    yield Step(
        "labels down", NOTHING, read(labels, size), lambda: plain, read(labels, size), copies=True,
    )  # fmt: skip


def _temporal(pixels: GpuPixels, made: Frame, logits: Buffer, read: Callable[..., Any]) -> Step:
    """Evidence of earlier frames, from the model's input on; a still picture mixes all cells."""
    grid = made.logits.shape[1], made.logits.shape[2]
    fitted = uploaded(pixels.device, made.fitted)
    small = Stretcher(pixels, grid, (made.fitted.shape[0], made.fitted.shape[1]))
    ours = CudaTemporalEvidence(pixels.device, (len(made.logits), *grid))
    theirs = TemporalEvidence()
    scores = [logits]

    def update() -> None:
        scores[0] = ours.update(small.fit(fitted), logits)

    return Step(
        "earlier frames", "NumPy", update, lambda: theirs.update(made.fitted, made.logits),
        lambda: read(scores[0], made.logits.shape, np.float32)(),
    )  # fmt: skip
