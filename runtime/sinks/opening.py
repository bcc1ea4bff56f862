"""From the flags to open sinks, and a result to all of them that want it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from engines.failures import UsageError
from engines.spec import ModelSpec
from runtime.agreement import Agreement
from runtime.assembly import Assembly
from runtime.drop_policy import drop_policy
from runtime.lane import Lane, Result
from runtime.options import Options
from runtime.sinks.encoders import choose_encoder
from runtime.sinks.json_lines import STANDARD_OUTPUT, Detail, JsonLines, check_results
from runtime.sinks.label_maps import LabelMaps, check_folder
from runtime.sinks.recorder import Recorder, check_recordable
from runtime.sinks.sink import Sink
from runtime.sinks.threaded import Threaded
from runtime.sinks.wall import Wall
from runtime.sinks.window import Window


class Sinks:
    """The sinks of each camera; one that all share, like JSON lines, stands in every list.

    Args:
        lanes: Of the stream.
        by_camera: The open sinks, in the order in which they get a result.
        window: The one among them that has a user.
    """

    def __init__(
        self,
        lanes: Sequence[Lane],
        by_camera: Sequence[Sequence[Sink]],
        window: Window | Wall | None = None,
    ) -> None:
        self.ended_by = ""  # name of the sink that ended the stream
        self._lanes = lanes
        self._by_camera = by_camera
        self._window = window

    def put(self, result: Result) -> bool:
        """Hand a result to the sinks of its camera; False once one of them ends the stream."""
        timings = self._lanes[result.camera].timings
        for sink in self._by_camera[result.camera]:
            if isinstance(sink, Threaded):  # which measures in its thread
                goes_on = sink.put(result)
            else:
                with timings.measure(sink.name):
                    goes_on = sink.put(result)
            if not goes_on:
                self.ended_by = sink.name
                return False
        return True

    def idle(self) -> bool:
        """While no result comes: let the window answer its user; False if that ends the stream."""
        if self._window is None or self._window.idle():
            return True
        self.ended_by = self._window.name
        return False

    def stop(self) -> None:
        """From any thread: finish soon, see `Threaded.stop`."""
        for sink in self._threaded():
            sink.stop()

    def to_json(self) -> dict[str, dict[str, Any]]:
        """What became of the results, once the sinks are closed: a row for each name.

        `core_ms` is the processor time of one written result; a recording's row has its encoder.
        """
        rows: dict[str, dict[str, Any]] = {}
        for sink in self._threaded():
            row = rows.setdefault(sink.name, {"written": 0, "dropped": 0, "core_ms": 0.0})
            row["written"] += sink.written
            row["dropped"] += sink.dropped
            row["core_ms"] += 1e3 * sink.core_seconds
            if isinstance(sink.sink, Recorder) and sink.sink.choice is not None:
                row["encoder"] = sink.sink.choice.to_json()
        for row in rows.values():
            row["core_ms"] = round(row["core_ms"] / max(1, row["written"]), 3)
        return rows

    def _threaded(self) -> list[Threaded]:
        """Each once, in order."""
        every = [sink for sinks in self._by_camera for sink in sinks]
        return list(dict.fromkeys(sink for sink in every if isinstance(sink, Threaded)))


def check_sinks(options: Options) -> None:
    """Raise the `Failure` of a sink that cannot be opened, before anything else is."""
    _check_apart(options)
    cameras = len(options.camera)
    for index in range(cameras):
        if options.record is not None:
            check_recordable(path_of(options.record, index, cameras))
        if options.labels is not None:
            check_folder(path_of(options.labels, index, cameras))
    if options.record is not None and options.encoder != "auto":
        choose_encoder(options.encoder)
    if options.results is not None:
        check_results(options.results)


def _check_apart(options: Options) -> None:
    """Raise `UsageError` where something would be written over what a camera reads, or twice."""
    # os.path: a camera's address may be longer than a path can be, and Path.exists raises then
    read = [Path(camera) for camera in options.camera if os.path.exists(camera)]  # noqa: PTH110
    taken = {path.resolve(): "--camera" for path in read}
    for flag, path in _written(options):
        place = path.resolve()
        if place in taken:
            raise UsageError(
                f"{flag} {path} would overwrite what {taken[place]} names: choose another name"
            )
        if not path.exists() or path.is_file() or path.is_dir():  # /dev/null takes everything
            taken[place] = flag


def _written(options: Options) -> Iterator[tuple[str, Path]]:
    """The files and folders that flags name."""
    cameras = len(options.camera)
    for flag, path in (("--record", options.record), ("--labels", options.labels)):
        if path is not None:
            yield from ((flag, path_of(path, index, cameras)) for index in range(cameras))
    for flag, path in (("--results", options.results), ("--json", options.json)):
        if path is not None and path != STANDARD_OUTPUT:
            yield flag, path


def open_sinks(
    stack: ExitStack,
    options: Options,
    assembly: Assembly,
    *,
    windowed: bool,
    more: Sequence[Sink] = (),
    threaded: Sequence[Sink] = (),
) -> Sinks:
    """Open what `options` name, until the stack unwinds; `more` and `threaded` get all results.

    Each sink that may be slow, and each of `threaded`, has its own thread, so neither the stream
    nor another sink waits for it, except where every frame counts.
    """
    lanes, spec = assembly.stream.lanes, assembly.bundle.spec
    waits = [drop_policy(options.drop, live=lane.source.live).name == "all" for lane in lanes]
    window = _window(lanes) if windowed else None
    windows: list[Sink] = [] if window is None else [window]
    by_camera = []
    for index, lane in enumerate(lanes):
        files = _files(options, lane, spec, index, len(lanes))
        sinks: list[Sink] = [
            stack.enter_context(Threaded(sink, waits, lane.timings)) for sink in files
        ]
        by_camera.append([*sinks, *windows])
    for sink in (*windows, *more):
        stack.enter_context(sink)
    if options.results is not None:
        detail = Detail(options.regions, options.min_region, options.polygon_tolerance)
        lines = JsonLines(options.results, spec.classes, detail, _agreements(assembly))
        threaded = [lines, *threaded]
    shared = [stack.enter_context(Threaded(sink, waits, lanes[0].timings)) for sink in threaded]
    return Sinks(lanes, [[*sinks, *shared, *more] for sinks in by_camera], window)


def _window(lanes: Sequence[Lane]) -> Window | Wall:
    """One window, in which several cameras stand side by side."""
    if len(lanes) == 1:
        return Window(f"DeepLab Edge: {lanes[0].source.name}")
    return Wall(Window(f"DeepLab Edge: {len(lanes)} cameras"), len(lanes))


def _files(options: Options, lane: Lane, spec: ModelSpec, camera: int, cameras: int) -> list[Sink]:
    """The sinks of one camera that write files."""
    sinks: list[Sink] = []
    if options.record is not None:
        path = path_of(options.record, camera, cameras)
        sinks.append(Recorder(path, lane.source.fps, options.encoder))
    if options.labels is not None:
        sinks.append(LabelMaps(path_of(options.labels, camera, cameras), spec.palette))
    return sinks


def _agreements(assembly: Assembly) -> list[Agreement] | None:
    """For each camera how its engine agrees with the one that `--compare` or `--shadow` names."""
    if assembly.shadow is not None:
        return [assembly.shadow.agreement] * len(assembly.cameras)
    compared = [camera.comparison for camera in assembly.cameras]
    return [one.agreement for one in compared if one is not None] or None


def path_of(path: Path, camera: int, cameras: int) -> Path:
    """A camera's own file or folder: with several cameras its number is added to the name."""
    if cameras > 1 and path.name in ("", ".."):
        raise UsageError(
            f"{path} can have no number, as of several cameras each needs its own: name a folder "
            f"in it, {path / 'maps'}"
        )
    return path if cameras == 1 else path.with_name(f"{path.stem}-{camera}{path.suffix}")
