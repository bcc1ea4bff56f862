"""The stream for Python programs.

    from runtime.api import open_stream

    with open_stream("rtsp://192.168.0.20/live", crf="fast") as stream:
        for result in stream:
            print(f"{result.age * 1e3:.0f} ms old, road {result.share('Road'):.0%}")

docs/python_api.md tells more; the programs in `examples/` use it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from engines.failures import UsageError, hint
from engines.spec import ModelSpec
from runtime.assembly import Assembly, assemble
from runtime.options import Options
from runtime.pipeline import Stream
from runtime.segmented import Segmented, segmented
from runtime.sinks.opening import Sinks, check_sinks, open_sinks
from runtime.sinks.sink import Sink
from runtime.source import Image
from runtime.sources.arrays import ArraySource
from runtime.sources.status import Status
from runtime.state_watch import Camera, StateWatch

if TYPE_CHECKING:
    from typing import Unpack  # Python 3.11

__all__ = [
    "ArraySource",
    "LiveStream",
    "Segmented",
    "Settings",
    "Status",
    "open_stream",
    "segment",
]


class Settings(TypedDict, total=False):
    """What may be set: the flags of `runtime/stream.py`, with its defaults and meanings."""

    drop: str
    give_up: float
    bundle: Path | str
    precision: str
    target: str
    crf: str
    crf_budget: float | None
    temporal: str
    alpha: float
    record: Path | str | None
    encoder: str
    labels: Path | str | None
    results: Path | str | None
    regions: str
    min_region: float
    polygon_tolerance: float


class LiveStream:
    """What `open_stream` gives: iterate over it, once.

    Attributes:
        spec: Of the model: classes, colours, input size.
    """

    def __init__(
        self,
        assembly: Assembly,
        sinks: Sinks,
        on_result: Callable[[Segmented], object],
        temporal: str,
    ) -> None:
        self.spec: ModelSpec = assembly.bundle.spec
        self._temporal = temporal
        self._assembly = assembly
        self._stream: Stream = assembly.stream
        self._sinks = sinks
        self._on_result = on_result

    def __iter__(self) -> Iterator[Segmented]:
        """Results until all cameras end, `stop` is called, or a sink has enough.

        Each goes through the hook and the sinks first. A failure of the model, or of all cameras,
        is raised here.
        """
        for result in self._stream:
            named = segmented(result, self.spec)
            self._on_result(named)
            if not self._sinks.put(result):
                return
            yield named

    def run(self) -> None:
        """Iterate to the end, for programs that live in hooks and sinks."""
        for _ in self:
            pass

    def stop(self) -> None:
        """From any thread: end the iteration now."""
        self._stream.stop()
        self._sinks.stop()

    def pause(self) -> None:
        """From any thread: infer nothing more until `resume`."""
        self._stream.pause()

    def resume(self) -> None:
        """From any thread: go on after `pause`, with new frames of a live camera."""
        self._stream.resume()

    @property
    def fps(self) -> float:
        """Results per second so far."""
        return self._stream.fps

    @property
    def dropped(self) -> int:
        """Frames of live cameras that newer ones replaced, before they were handed over."""
        return self._stream.dropped

    @property
    def reconnects(self) -> int:
        """How often cameras were lost and found again."""
        return self._stream.reconnects

    @property
    def cameras(self) -> list[Status]:
        """Where each camera stands at the moment."""
        return [lane.source.status for lane in self._stream.lanes]

    @property
    def sinks(self) -> dict[str, dict[str, Any]]:
        """Of each sink that writes files: results `written` and `dropped`, `core_ms` of one.

        Exact once the `with` is left.
        """
        return self._sinks.to_json()

    def describe(self) -> str:
        """What runs and why, in lines for people."""
        return self._assembly.describe(self._temporal)


@contextmanager
def open_stream(
    *cameras: Camera,
    on_result: Callable[[Segmented], object] = lambda result: None,
    on_state: Callable[[int, Status], object] = lambda camera, status: None,
    sinks: Sequence[Sink] = (),
    threaded_sinks: Sequence[Sink] = (),
    draw: bool = False,
    **settings: Unpack[Settings],
) -> Iterator[LiveStream]:
    """Open cameras, a model and sinks; leaving the `with` closes them and finishes the files.

    Args:
        cameras: What `--camera` takes, as text or a path; or a `FrameSource`; or an iterable of
            arrays [H, W, 3], uint8 RGB, every one of which is segmented (`ArraySource(...,
            live=True)` for a camera of your own, where the newest one counts).
        on_result: Called with each result, by the thread that iterates.
        on_state: Called with the camera's number and its status whenever it becomes live, stalls,
            is lost or found; by a thread of the camera, so it must not take long. Files and arrays
            cannot be lost: they are always live.
        sinks: Objects of your own, see `runtime.sinks.sink.Sink`. They are entered and left with
            the stream, and get each `Result` from the thread that iterates.
        threaded_sinks: The same, each in a thread of its own, as files are written: for what may be
            slow. Results of a live camera that it has no time for are dropped, for it alone.
        draw: Whether results have a `picture` with overlay, status and legend.
        settings: See `Settings`.

    Raises:
        Failure: What cannot be opened, in one sentence.
    """
    if not cameras:
        raise UsageError("open_stream() without a camera: try open_stream('street:')")
    options = _options(cameras, settings)
    check_sinks(options)
    with ExitStack() as stack:
        watches = [StateWatch(index, on_state) for index in range(len(cameras))]
        sources = [
            watch.open(camera, options) for watch, camera in zip(watches, cameras, strict=True)
        ]
        drawn = draw or options.record is not None
        assembly = assemble(options, stack, drawn=drawn, sources=sources)
        opened = open_sinks(
            stack, options, assembly, windowed=False, more=sinks, threaded=threaded_sinks
        )
        for watch in watches:
            stack.callback(watch.look)
        stack.enter_context(assembly.stream)
        yield LiveStream(assembly, opened, on_result, options.temporal)


def segment(image: Image | str | Path, **settings: Unpack[Settings]) -> Segmented:
    """Segment one picture, [H, W, 3] uint8 RGB or a file; the labels are those of a stream of it.

    The model is opened and closed again: for several pictures iterate over
    `open_stream(pictures)`.
    """
    camera: Camera = image if isinstance(image, str | Path) else [image]
    with open_stream(camera, **settings) as stream:
        return next(iter(stream))


def _options(cameras: Sequence[Camera], settings: Settings) -> Options:
    """The settings as the command line would give them."""
    known = Settings.__annotations__
    for name in settings:
        if name not in known:
            raise UsageError(f"open_stream() has no setting {name!r}: {hint(name, list(known))}")
    paths = {"bundle", "record", "labels", "results"}
    values: dict[str, Any] = {
        name: Path(str(value)) if name in paths and value is not None else value
        for name, value in settings.items()
    }
    names = tuple(
        str(camera) if isinstance(camera, str | Path) else "program" for camera in cameras
    )
    return replace(Options(names), **values)
