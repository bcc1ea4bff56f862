"""Frames in the order a camera took them: a video, a labelled split, or the drawn street."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import av
import numpy as np

from engines.failures import Refused, UsageError
from scenes.dataset import Frame, Labels, open_dataset
from scenes.street import StreetCamera, parse_options

View = tuple[Frame, Labels | None]  # a frame [H, W, 3] and its truth [H, W], where it is known


@dataclass(frozen=True)
class Clip:
    """Consecutive frames; `classes` of their truth, None where there is no truth."""

    name: str  # without folders: it goes into reports
    classes: tuple[str, ...] | None
    frames: Iterator[View]


def open_clip(text: str, split: str, limit: int) -> Clip:
    """The first `limit` frames of `camvid:DIR`, `folder:DIR`, `street:?seed=N` or a video file.

    Frames of a labelled split count as consecutive: it should be one clip, in name order. A street
    is the camera's own 30 frames a second, not the far-apart frames of the data set.
    """
    if text.startswith("street:"):
        seed = parse_options(text.removeprefix("street:"), known=("seed",)).get("seed", "0")
        if not seed.isdecimal():
            raise UsageError(f"street: seed={seed} is no whole number")
        camera = StreetCamera(seed=int(seed))
        scenes = (camera.scene(index) for index in range(limit))
        views: Iterator[View] = ((scene.frame, scene.labels) for scene in scenes)
        return Clip(f"street {seed}", camera.classes, views)
    kind, colon, _ = text.partition(":")
    if colon and "/" not in kind:
        dataset = open_dataset(text, split)
        views = ((scene.frame, scene.labels) for scene in islice(dataset, limit))
        return Clip(f"{kind} {split}", tuple(dataset.classes), views)
    path = Path(text)
    if not path.is_file():
        raise Refused(
            f"no clip {text!r}: expected a video file, camvid:DIR, folder:DIR or street:?seed=1"
        )
    return Clip(path.name, None, islice(_decoded(path), limit))


def _decoded(path: Path) -> Iterator[View]:
    """The frames of a video file, which may open nothing but itself."""
    try:
        with av.open(f"file:{path}", options={"protocol_whitelist": "file"}) as container:
            if not container.streams.video:
                raise Refused(f"{path} has no video in it: name a video file")
            for picture in container.decode(video=0):
                yield np.asarray(picture.to_ndarray(format="rgb24"), np.uint8), None
    except av.FFmpegError as error:
        raise Refused(
            f"{path} is not a video that FFmpeg can read ({error.strerror}): try ffprobe {path}"
        ) from error
