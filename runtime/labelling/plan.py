"""What there is to do for one video or one group of images, written down before it is done.

A later run reads the plan instead of the video, so that shards keep their numbers for as long as
the files are what they were.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from engines.failures import MALFORMED, Refused


@dataclass(frozen=True)
class SourceFile:
    """A file, and how to tell that it was exchanged without reading it."""

    name: str
    path: str
    bytes: int
    modified_ns: int

    @staticmethod
    def of(name: str, path: Path) -> SourceFile:
        """As it is now."""
        status = path.stat()
        return SourceFile(name, str(path), status.st_size, status.st_mtime_ns)

    def changed(self) -> bool:
        """Whether it is another file now; one that is gone has not changed."""
        path = Path(self.path)
        return path.exists() and SourceFile.of(self.name, path) != self


@dataclass(frozen=True)
class Shard:
    """Frames that one worker labels in one go: `count` of them, the first being frame `first`.

    Of a video, those shown from `start` until before `stop`, in units of the stream's time base;
    None is the video's own beginning or end. `origin` is the time of the video's first frame.
    """

    first: int
    count: int
    start: int | None = None
    stop: int | None = None
    origin: int | None = None


@dataclass(frozen=True)
class Plan:
    """A video, or images, and their shards in order."""

    files: tuple[SourceFile, ...]
    shards: tuple[Shard, ...]
    is_video: bool

    def text(self) -> str:
        """As JSON."""
        return json.dumps(dataclasses.asdict(self)) + "\n"

    @staticmethod
    def parse(path: Path) -> Plan:
        """Read one; a file that is none is `Refused`."""
        try:
            data = json.loads(path.read_bytes())
            files = tuple(SourceFile(**file) for file in data["files"])
            shards = tuple(Shard(**shard) for shard in data["shards"])
            return Plan(files, shards, bool(data["is_video"]))
        except (OSError, *MALFORMED) as error:
            raise Refused(f"{path} is no plan of label.py ({error}): remove its folder") from None
