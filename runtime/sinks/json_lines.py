"""One line of JSON for each frame: what covers how much of it, where, and how old it is.

`results.schema.json`, beside this file, describes a line; docs/sinks.md explains it.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, redirect_stdout
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from engines.failures import Failure, UsageError
from runtime.agreement import Agreement
from runtime.frame_path import Labels
from runtime.lane import Result
from runtime.regions import class_areas, find_regions

STANDARD_OUTPUT = Path("-")


@dataclass(frozen=True)
class Detail:
    """How finely regions are told."""

    regions: str  # polygons, boxes or off
    min_region: float  # share of the frame below which a region is left out
    tolerance: float  # pixels that a polygon may be from the exact outline


class JsonLines:
    """Writes a line for each result to a file or to standard output; use with `with`.

    Lines are written whole and at once, so a reader may follow the file while it grows. When the
    disk is full, what there is of the last line is taken back.

    Args:
        path: A file, which is begun anew, or `-`.
        classes: Names of the labels.
        detail: Of the regions.
        agreements: For each camera, how its labels agree with another engine's; without them lines
            say nothing about it.
    """

    name = "results"

    def __init__(
        self,
        path: Path,
        classes: Sequence[str],
        detail: Detail,
        agreements: Sequence[Agreement] | None = None,
    ) -> None:
        self._path = path
        self._classes = classes
        self._detail = detail
        self._agreements = agreements
        self._file = -1

    def put(self, result: Result) -> bool:
        """Write a line; False once nobody reads standard output any more."""
        line = describe(result, self._classes, self._detail)
        if self._agreements is not None:
            agreement = self._agreements[result.camera]
            line["agreement"] = round(agreement.recent, 5) if agreement.latest else None
        try:
            self._write(json.dumps(line, separators=(",", ":")).encode() + b"\n")
        except BrokenPipeError:
            return False
        except OSError as error:
            raise Failure(
                f"results to {self._path} ended ({error.strerror}): is there room on the disk? "
                f"df -h {self._path.parent}"
            ) from error
        return True

    def __enter__(self) -> JsonLines:
        if self._path == STANDARD_OUTPUT:
            self._file = os.dup(1)
        else:
            self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    def _write(self, data: bytes) -> None:
        begin = 0
        try:
            while begin < len(data):
                begin += os.write(self._file, data[begin:])
        except OSError:
            if begin and self._path != STANDARD_OUTPUT:
                os.ftruncate(self._file, os.lseek(self._file, -begin, os.SEEK_CUR))
            raise


def describe(result: Result, classes: Sequence[str], detail: Detail) -> dict[str, Any]:
    """A result as it stands in its line; shares are of all pixels of the frame."""
    labels = result.labels
    height, width = labels.shape
    shares = (class_areas(labels, len(classes)) / labels.size).round(5).tolist()
    age = time.monotonic() - result.frame.captured
    captured = datetime.fromtimestamp(time.time() - age, timezone.utc)
    line: dict[str, Any] = {
        "camera": result.camera,
        "index": result.frame.index,
        "time": round(result.frame.time, 4),
        "captured": captured.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "age_ms": round(1e3 * age, 1),
        "size": [width, height],
        "shares": dict(zip(classes, shares, strict=True)),
    }
    if detail.regions != "off":
        line["regions"] = _regions(labels, classes, detail)
    return line


def _regions(labels: Labels, classes: Sequence[str], detail: Detail) -> list[dict[str, Any]]:
    with_polygons = detail.regions == "polygons"
    found = find_regions(
        labels,
        round(detail.min_region * labels.size),
        detail.tolerance if with_polygons else None,
    )
    told = []
    for region in found:
        if region.label < len(classes):
            share = round(region.area / labels.size, 5)
            told.append({"class": classes[region.label], "share": share, "box": list(region.box)})
            if with_polygons:
                told[-1]["polygon"] = region.polygon.tolist()
    return told


def keep_for_results(path: Path | None) -> AbstractContextManager[object]:
    """If results go to standard output, what people are told goes to stderr inside the `with`."""
    return redirect_stdout(sys.stderr) if path == STANDARD_OUTPUT else nullcontext()


def check_results(path: Path) -> None:
    """Raise `UsageError` unless lines can be written to the path of `--results`."""
    if path == STANDARD_OUTPUT:
        return
    if path.is_dir():
        raise UsageError(f"--results {path} is a folder: name a file in it, {path / 'out.jsonl'}")
    if not path.parent.is_dir():
        raise UsageError(f"--results {path}: no folder {path.parent}; mkdir -p {path.parent}")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UsageError(f"--results {path}: no permission to write to it")
