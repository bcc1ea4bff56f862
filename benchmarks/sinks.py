"""What sinks cost: regions beside OpenCV's, and the stream with and without each sink.

Regions of the model's labels of the virtual street, from 0.1 % of the frame on, with polygons:
ours, and what one writes with OpenCV (for each class connectedComponentsWithStats, then
findContours and approxPolyDP for each component). `agreement` is the share of regions with the
same class, area and box; these times are the processor's. Then the same frames go through the
stream with no sink, one, or all; `ours_ms` is a frame with the sink, `peer_ms` one without.
Everything takes turns; medians count.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

if __name__ == "__main__":  # this folder comes first on the path and would hide the room `engines`
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.pair import Pair
from engines.command import parser, run_command
from engines.failures import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runtime.frame_path import Labels
    from runtime.regions import Box

PACKAGES = ("numpy", "opencv-python", "av", "pillow", "onnxruntime")
SIZES = ("480x360", "960x540")
SHARE, TOLERANCE = 0.001, 1.5  # the stream's defaults
RECORD, LABELS, RESULTS = {"record": "out.mp4"}, {"labels": "maps"}, {"results": "out.jsonl"}
SINKS = {
    "no sink": {},
    "record": RECORD,
    "labels": LABELS,
    "results": RESULTS,
    "results, boxes": {**RESULTS, "regions": "boxes"},
    "results, no regions": {**RESULTS, "regions": "off"},
    "all": {**RECORD, **LABELS, **RESULTS},
}
REPEATS = 5  # of each label map, of which the fastest counts: others share the machine


@dataclass(frozen=True)
class Options:
    """Which model, and how much of everything."""

    bundle: Path = Path("artifacts/camvid-mobilenetv2")
    precision: str = "int8"
    maps: int = 10
    frames: int = 60
    laps: int = 3
    json: Path | None = None

    def __post_init__(self) -> None:
        if min(self.maps, self.laps) < 1 or self.frames < 2:
            raise UsageError("--maps and --laps are at least 1, --frames at least 2")


@dataclass(frozen=True)
class Row(Pair):
    """Ours against the peer; `core_ms` is the processor time of one of ours."""

    agreement: float | None
    core_ms: float


@dataclass(frozen=True)
class Result:
    """All rows, and where they were measured."""

    results: list[Row]
    machine: dict[str, str | int | float]


def parse(argv: list[str] | None) -> Options:
    """Read the command line."""
    default = Options()
    p = parser(__doc__, "python benchmarks/sinks.py --json sinks.json")
    number = partial(p.add_argument, type=int, metavar="N")
    p.add_argument("--bundle", type=Path, default=default.bundle, metavar="DIR", help="the model")
    p.add_argument("--precision", default=default.precision, metavar="P", help="that runs")
    number("--maps", default=default.maps, help="label maps of each size")
    number("--frames", default=default.frames, help="of the stream in a lap")
    number("--laps", default=default.laps, help="in turns; the median counts")
    return Options(**vars(p.parse_args(argv)))


def run(options: Options) -> Result:
    """Regions first, then sinks."""
    from engines.machine import describe_machine

    rows = [_regions_row(options, size) for size in SIZES] + _sink_rows(options)
    return Result(rows, describe_machine(*PACKAGES))


def _regions_row(options: Options, size: str) -> Row:
    from runtime.regions import find_regions

    maps = _label_maps(options, size)
    ours, peers, alike = [], [], []
    for labels in maps:
        smallest = round(SHARE * labels.size)
        times = [
            (
                _core_ms(lambda: find_regions(labels, smallest, TOLERANCE)),  # noqa: B023
                _core_ms(lambda: opencv_regions(labels, smallest)),  # noqa: B023
            )
            for _ in range(REPEATS)
        ]
        ours.append(min(mine for mine, _ in times))
        peers.append(min(theirs for _, theirs in times))
        found = [(r.label, r.area, r.box) for r in find_regions(labels, smallest)]
        alike.append(_alike(found, opencv_regions(labels, smallest)))
    mine, theirs = statistics.median(ours), statistics.median(peers)
    return Row(
        f"regions of {size}",
        "OpenCV, class by class",
        1,
        {"smallest": SHARE, "tolerance": TOLERANCE, "maps": len(maps)},
        round(mine, 3),
        round(theirs, 3),
        round(theirs / mine, 2),
        round(statistics.mean(alike), 4),
        round(mine, 3),
    )


def _label_maps(options: Options, size: str) -> list[Labels]:
    """What the model sees in frames of the street, three apart."""
    from runtime.api import open_stream

    street = f"street:?size={size}"
    settings: dict[str, Any] = {"bundle": options.bundle, "precision": options.precision}
    maps: list[Labels] = []
    with open_stream(street, crf="off", **settings) as stream:
        for result in stream:
            if result.index % 3 == 0:
                maps.append(result.labels)
            if len(maps) == options.maps:
                break
    return maps


def opencv_regions(labels: Labels, smallest: int) -> list[tuple[int, int, Box]]:
    """Label, area and box of each region, after its polygon was made as well."""
    import cv2
    import numpy as np

    cv2.setNumThreads(1)
    found = []
    for label in np.unique(labels).tolist():
        mask = (labels == label).astype(np.uint8)
        count, places, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
        for number in range(1, count):
            left, top, width, height, area = stats[number].tolist()
            if area < smallest:
                continue
            part = (places[top : top + height, left : left + width] == number).astype(np.uint8)
            contours, _ = cv2.findContours(part, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
            for contour in contours:
                cv2.approxPolyDP(contour, TOLERANCE, True)
            found.append((label, area, (left, top, left + width, top + height)))
    return found


def _core_ms(work: Callable[[], object]) -> float:
    """Milliseconds of this thread's processor time, which other programs stretch least."""
    begin = time.thread_time()
    work()
    return 1e3 * (time.thread_time() - begin)


def _alike(ours: Sequence[object], theirs: Sequence[object]) -> float:
    both = set(ours) & set(theirs)
    return len(both) / max(1, len(set(ours) | set(theirs)))


def _sink_rows(options: Options) -> list[Row]:
    """One for each sink, against the stream without any."""
    laps: dict[str, list[tuple[float, float]]] = {name: [] for name in SINKS}
    for _ in range(options.laps):
        for name, sinks in SINKS.items():
            laps[name].append(_lap(options, sinks))
    plain = statistics.median(ms for ms, _ in laps["no sink"])
    settings = {"camera": "street:", "precision": options.precision, "crf": "off"}
    rows = []
    for name in list(SINKS)[1:]:
        ms = statistics.median(ms for ms, _ in laps[name])
        core = statistics.median(core for _, core in laps[name])
        ratio = round(plain / ms, 2)
        row = Row(name, "no sink", 0, settings, round(ms, 2), round(plain, 2), ratio, None, core)
        rows.append(row)
    return rows


def _lap(options: Options, sinks: Mapping[str, str]) -> tuple[float, float]:
    """Milliseconds for a frame, and processor milliseconds of its sinks."""
    from runtime.api import open_stream

    with tempfile.TemporaryDirectory() as folder:
        settings: dict[str, Any] = {
            name: value if name == "regions" else Path(folder, value)
            for name, value in sinks.items()
        }
        settings |= {"bundle": options.bundle, "precision": options.precision, "crf": "off"}
        with open_stream("street:", **settings) as stream:
            for result in stream:
                if result.index + 1 == options.frames:
                    break
        counts = stream.sinks.values()
    assert not any(row["dropped"] for row in counts), stream.sinks
    return 1e3 / stream.fps, round(sum(row["core_ms"] for row in counts), 3)


def show(result: Result) -> None:
    """Print the table."""
    print(f"\n{'':22}{'ms':>9}{'peer ms':>9}{'ratio':>7}{'core-ms':>9}  peer")
    for row in result.results:
        print(
            f"{row.name:22}{row.ours_ms:9.2f}{row.peer_ms:9.2f}{row.ratio:7.2f}{row.core_ms:9.2f}"
            f"  {row.peer}" + ("" if row.agreement is None else f", agreement {row.agreement:.1%}")
        )


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run_command(argv, parse, run, show)


if __name__ == "__main__":
    raise SystemExit(main())
