"""What all workers did, in numbers: the JSON of `label.py`, its progress and its table."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from engines.failures import SourceFailed
from runtime.labelling.model import Model
from runtime.labelling.report import Report
from runtime.summary import peak_rss_mb

INTERVAL = 10.0  # seconds between two lines of progress


class Summary:
    """Reports added up; it tells of failures at once, and how far it is every ten seconds."""

    def __init__(self, workers: int, threads: int, model: Model, output: Path) -> None:
        self.frames = self.resumed = self.damaged = 0
        self.failures: dict[str, str] = {}
        self._workers, self._threads, self._model, self._output = workers, threads, model, output
        self._stages: dict[str, float] = {}
        self._memory: dict[int, float] = {}  # the most that each worker ever held
        self._began = self._last = time.monotonic()
        self._idle: float | None = None  # seconds until the first worker began
        self._told = 0.0

    @property
    def exit_code(self) -> int:
        """That of a failed source if there was one; everything else was labelled."""
        return SourceFailed.exit_code if self.failures else 0

    def add(self, report: Report) -> None:
        """Count a report."""
        self._last = time.monotonic()
        self.frames += report.frames
        self.resumed += report.resumed
        self.damaged += report.damaged
        self.failures |= report.failures
        for name, seconds in report.seconds.items():
            self._stages[name] = self._stages.get(name, 0.0) + seconds
        if report.worker:
            if self._idle is None:
                self._idle = self._last - self._began - report.seconds["all"]
            known = self._memory.get(report.worker, 0.0)
            self._memory[report.worker] = max(known, report.peak_rss_mb)
        for name, why in report.failures.items():
            print(f"failed: {name}: {why}", file=sys.stderr, flush=True)
        self._progress()

    def to_json(self) -> dict[str, Any]:
        """`stages` are milliseconds a frame of one worker; they overlap, so `all` is less than
        their sum. `seconds` include the `start_seconds` that pass until the first worker begins,
        `fps` does not."""
        seconds, idle = self._last - self._began, self._idle or 0.0
        return {
            "frames": self.frames,
            "resumed": self.resumed,
            "seconds": round(seconds, 3),
            "start_seconds": round(idle, 3),
            "fps": round(self.frames / (seconds - idle), 2) if seconds > idle else 0.0,
            "damaged": self.damaged,
            "failures": self.failures,
            "workers": self._workers,
            "threads": self._threads,
            "precision": self._model.precision,
            "target": self._model.target,
            "crf": self._model.crf,
            "stages": {
                name: round(1e3 * seconds / max(1, self.frames), 3)
                for name, seconds in self._stages.items()
            },
            "driver_rss_mb": peak_rss_mb(),
            "worker_rss_mb": max(self._memory.values(), default=0.0),
            "output": self._output,
        }

    def show(self) -> None:
        """Print it for people."""
        data = self.to_json()
        print(
            f"{self.frames} frames in {data['seconds']:.1f} s: {data['fps']:.1f} a second by "
            f"{self._workers} workers, once they had begun; {self.resumed} were finished before"
        )
        if self._stages:
            stages = ", ".join(f"{name} {ms:.1f}" for name, ms in data["stages"].items())
            print(f"ms a frame of one worker: {stages}")
        if self.damaged:
            print(f"{self.damaged} damaged packets were left out")
        if self.failures:
            inputs = "1 input" if len(self.failures) == 1 else f"{len(self.failures)} inputs"
            print(f"{inputs} failed: run again once that is repaired")
        print(f"labels and statistics: {self._output}")

    def _progress(self) -> None:
        now = time.monotonic() - self._began
        if now - self._told >= INTERVAL:
            self._told = now
            print(
                f"{now:.0f} s: {self.frames} frames, {self.frames / now:.1f} a second", flush=True
            )
