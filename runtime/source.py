"""What a camera is to the stream: frames with their capture times, from a thread that may hang."""

from __future__ import annotations

import difflib
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from engines.failures import SourceFailed, UsageError
from runtime.sources.status import Status

Image = NDArray[np.uint8]  # [H, W, 3] RGB


@dataclass(frozen=True)
class Frame:
    """One picture of a source."""

    image: Image
    index: int  # 0, 1, ... without gaps, as read
    captured: float  # time.monotonic() when the camera took it, or the file was decoded
    time: float  # seconds since the source's first frame: where it belongs in a recording


class FrameSource(Protocol):
    """Something that yields frames; iterated once, by one thread.

    Iterating opens the device, and closing the generator releases it, both in the thread that
    iterates: a driver that hangs then hangs that thread alone. Failures raise `SourceFailed`.
    """

    @property
    def name(self) -> str:
        """What the user calls it, safe to print."""
        ...

    @property
    def live(self) -> bool:
        """Whether it goes on without us: then the newest frame counts and late ones are dropped."""
        ...

    @property
    def fps(self) -> float:
        """Nominal frames per second, for the header of a recording."""
        ...

    @property
    def damaged(self) -> int:
        """Packets that could not be decoded so far; their frames are missing."""
        ...

    @property
    def status(self) -> Status:
        """Live, or why not; what was lost on the way here."""
        ...

    def __iter__(self) -> Generator[Frame, None, None]: ...

    def close(self) -> None:
        """From any thread, at any time: end a wait and the iteration, as soon as possible."""
        ...


def open_source(text: str) -> FrameSource:
    """The source that `--camera` names: an index, device, video, image, folder or `street:`."""
    from runtime.sources.v4l2 import CameraSource, device_path
    from runtime.sources.folder import IMAGES, FolderSource
    from runtime.sources.street import StreetSource
    from runtime.sources.video_file import VideoSource

    if text.startswith("street:"):
        return StreetSource.parse(text)
    if device := device_path(text):
        return CameraSource(device)
    if "://" in text:
        scheme = text.partition("://")[0]
        raise UsageError(
            f"{scheme}:// cameras are not read by this version: use a USB camera (--camera 0), "
            "a file or folder, or the built-in --camera street:"
        )
    path = Path(text)
    if not text or not path.exists():
        raise SourceFailed(f"no file or folder {text!r}{_nearest(path)}")
    if path.is_dir() or path.suffix.lower() in IMAGES:
        return FolderSource(path)
    return VideoSource(path)


def _nearest(path: Path) -> str:
    """A suggestion for a path that does not exist."""
    known = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    close = difflib.get_close_matches(path.name, known, n=1)
    if close:
        return f": did you mean {path.parent / close[0]}?"
    return ": check the path, or try the built-in camera with --camera street:"
