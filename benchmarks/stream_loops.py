"""What competes in `benchmarks/stream.py`: our stream, and the loops that people write.

Each takes frames from a source and yields the labels of one after the other, its picture drawn.
Ours is `runtime.pipeline.Stream`. A peer is one loop that reads, infers, labels and draws in turn,
with the library calls of its tutorials; a video file is read by OpenCV, another source by ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.contenders import Contender
from benchmarks.crf_cases import Case
from benchmarks.crf_contenders import PyDenseCrf
from crf.dense_crf import MILD
from crf.temporal import TemporalEvidence
from engines.bundle import Bundle
from engines.session import Session
from engines.spec import CrfParams, ModelSpec
from runtime.overlay import Overlay
from runtime.pipeline import one_camera
from runtime.refiner import CrfRefiner
from runtime.source import Image, open_source

Labels = NDArray[np.uint8]
Logits = NDArray[np.float32]
ALPHA = 0.5


@dataclass(frozen=True)
class Loop:
    """A name, the CRF's mode or "off", and camera -> labels of frame after frame."""

    name: str
    crf: str
    frames: Callable[[str], Iterator[Labels]]


def our_stream(name: str, session: Session, crf: str, temporal: bool) -> Loop:
    """What `runtime/stream.py` runs, drawing included; `crf` is off, fast or exact."""
    spec = session.spec

    def frames(camera: str) -> Iterator[Labels]:
        with one_camera(
            open_source(camera),
            session,
            temporal=TemporalEvidence() if temporal else None,
            refiner=None if crf == "off" else CrfRefiner(settings(spec), len(spec.classes), crf),
            drawer=Overlay(spec, name, ALPHA),
        ) as stream:
            for result in stream:
                yield result.labels

    return Loop(name, crf, frames)


def plain_loop(contender: Contender, bundle: Bundle, enlarge: Enlarge) -> Loop:
    """Read, resize, infer, enlarge the logits, arg max, draw: one after the other."""
    spec = bundle.spec

    def frames(camera: str) -> Iterator[Labels]:
        for image in read(camera):
            logits = contender.run(model_input(image, spec))
            labels = enlarge(logits, image.shape[:2]).argmax(axis=0).astype(np.uint8)
            draw(image, labels, spec)
            yield labels

    return Loop(contender.name, "off", frames)


def pydensecrf_loop(contender: Contender, bundle: Bundle, enlarge: Enlarge) -> Loop:
    """The same with pydensecrf instead of the arg max, at the settings of our CRF."""
    spec, crf = bundle.spec, PyDenseCrf(settings(bundle.spec))

    def frames(camera: str) -> Iterator[Labels]:
        for image in read(camera):
            logits = contender.run(model_input(image, spec))
            labels = crf.run(Case(image, logits, enlarge(logits, image.shape[:2])))
            draw(image, labels, spec)
            yield labels

    return Loop(f"{contender.name}+pydensecrf", "exact", frames)


Enlarge = Callable[[Logits, tuple[int, int]], Logits]  # [C, h, w], (H, W) -> [C, H, W]


def enlarge_by_opencv(logits: Logits, size: tuple[int, int]) -> Logits:
    """cv2.resize of logits as an image with C channels."""
    image = cv2.resize(logits.transpose(1, 2, 0), size[::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(image.transpose(2, 0, 1), np.float32)


def enlarge_by_torch(logits: Logits, size: tuple[int, int]) -> Logits:
    """torch.nn.functional.interpolate."""
    import torch
    from torch.nn.functional import interpolate

    tensor = torch.from_numpy(np.asarray(logits))[None]
    found: Logits = interpolate(tensor, size, mode="bilinear", align_corners=False)[0].numpy()
    return found


def settings(spec: ModelSpec) -> CrfParams:
    """The CRF that both run: the model's own, or the mild one."""
    return spec.crf or MILD


def read(camera: str) -> Iterator[Image]:
    """RGB frames: of a video file through OpenCV, else through our own source."""
    if not Path(camera).is_file():
        with closing(iter(open_source(camera))) as source:
            for frame in source:
                yield frame.image
        return
    video = cv2.VideoCapture(camera)
    try:
        while True:
            there, image = video.read()
            if not there:
                return
            yield np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
    finally:
        video.release()


def model_input(image: Image, spec: ModelSpec) -> Image:
    """The frame at the model's size."""
    height, width = spec.input_size
    if image.shape[:2] == (height, width):
        return image
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def draw(image: Image, labels: Labels, spec: ModelSpec) -> Image:
    """The frame under the colours of its labels."""
    colours = np.asarray(spec.palette, np.uint8)[labels]
    return np.asarray(cv2.addWeighted(image, 1 - ALPHA, colours, ALPHA, 0), np.uint8)
