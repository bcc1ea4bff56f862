"""Recordings that viewers start and stop: always into the one folder that was set at the start."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from pathlib import Path
from typing import Any

from engines.failures import Failure, UsageError
from runtime.journal import tell
from runtime.sinks.recorder import Recorder
from runtime.source import Image

ROOM = 1 << 30  # bytes that stay free: a viewer must not be able to fill the disk


class Recordings:
    """At most one recording at a time, named after the stream and the time it began.

    Args:
        folder: Must exist.
        name: Of the stream.
        fps: Nominal, for the files' headers.
    """

    def __init__(self, folder: Path, name: str, fps: float) -> None:
        if not folder.is_dir():
            raise UsageError(f"--recordings {folder}: no such folder; mkdir -p {folder}")
        self._folder = folder
        self._name = name
        self._fps = fps
        self._recorder: Recorder | None = None
        self._file = ""
        self._began = 0.0
        self.problem = ""  # why the last one ended by itself
        self._lock = threading.Lock()

    @property
    def running(self) -> bool:
        """Whether pictures are wanted."""
        return self._recorder is not None

    def start(self) -> None:
        """Begin a file; without room on the disk it is a `Failure`. Once begun it goes on."""
        with self._lock:
            if self._recorder is not None:
                return
            self.problem = self._shortage()
            if self.problem:
                raise Failure(self.problem)
            self._file = f"{self._name}-{time.strftime('%Y%m%d-%H%M%S')}.mp4"
            try:
                self._recorder = Recorder(self._free_path(), self._fps)
            except OSError as error:
                self.problem = _unusable(error)
                raise Failure(self.problem) from error
            self._began = time.monotonic()
        tell("recording started", stream=self._name, file=self._file)

    def stop(self) -> None:
        """Finish the file, if there is one."""
        with self._lock:
            recorder, self._recorder = self._recorder, None
            if recorder is None:
                return
            recorder.close()
        tell("recording finished", stream=self._name, file=self._file, frames=recorder.frames)

    def write(self, picture: Image, at: float) -> None:
        """Append a picture [H, W, 3] of time `at` in seconds; a full disk ends the recording."""
        with self._lock:
            if self._recorder is None:
                return
            try:
                self.problem = self._shortage()
                if not self.problem:
                    self._recorder.write(picture, at)
            except Failure as error:
                self.problem = str(error)
        if self.problem:
            tell("recording ended", logging.WARNING, stream=self._name, reason=self.problem)
            self.stop()

    def to_json(self) -> dict[str, Any]:
        """For the page: the file's name, never its folder."""
        recorder = self._recorder
        now = {
            "file": self._file,
            "frames": recorder.frames if recorder else 0,
            "seconds": round(time.monotonic() - self._began, 1),
        }
        return {"running": now if recorder else None, "problem": self.problem}

    def _shortage(self) -> str:
        try:
            free = shutil.disk_usage(self._folder).free
        except OSError as error:  # a disk that was pulled out
            return _unusable(error)
        return "" if free > ROOM else f"only {free >> 20} MB are free on the recordings' disk"

    def _free_path(self) -> Path:
        """A name that no other recording has: two may begin within a second."""
        path, count = self._folder / self._file, 1
        while path.exists():
            count += 1
            path = (self._folder / self._file).with_stem(f"{Path(self._file).stem}-{count}")
        self._file = path.name
        return path


def _unusable(error: OSError) -> str:
    return f"the recordings' folder cannot be used ({error.strerror}): is its disk there?"
