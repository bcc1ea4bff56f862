"""What a camera is to the stream: frames with their capture times, from a thread that may hang."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from engines.failures import SourceFailed
from runtime.drop_policy import drop_policy
from runtime.sources.backoff import Retry
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


def open_source(
    text: str,
    *,
    drop: str = "auto",
    retry: Retry | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> FrameSource:
    """The source that `--camera` names; docs/sources.md lists the forms.

    For the local user's words only: a path or pipeline in them may read any file.

    Args:
        text: An index, device, file, folder, pattern or address.
        drop: The stream's policy, as `--drop` names it; "all" makes a camera wait, too.
        retry: How patiently a lost camera is tried again.
        tell: Gets a line for people whenever a camera changes its state.
    """
    from runtime.sources.addresses import feed_of
    from runtime.sources.camera import Camera
    from runtime.sources.folder import FolderSource, images_named
    from runtime.sources.street import StreetSource
    from runtime.sources.video_file import VideoSource

    if text.startswith("street:"):
        return StreetSource.parse(text)
    if feed := feed_of(text):
        policy = drop_policy(drop, live=feed.live)
        return Camera(replace(feed, drop=str(policy)), text, retry=retry, tell=tell)
    if images := images_named(text):
        return FolderSource(images, text)
    path = Path(text)
    if not os.path.exists(text):  # noqa: PTH110  Path.exists raises at names that are too long
        raise SourceFailed(f"no file or folder {text!r}{_nearest(path)}")
    return VideoSource(path)


def _nearest(path: Path) -> str:
    """A suggestion for a path that does not exist."""
    try:
        known = [entry.name for entry in path.parent.iterdir()]
    except (OSError, ValueError):  # no such folder, no permission, or no name at all
        known = []
    close = difflib.get_close_matches(path.name, known, n=1)
    if close:
        return f": did you mean {path.parent / close[0]}?"
    return ": check the path, or try the built-in camera with --camera street:"
