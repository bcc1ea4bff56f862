"""From `Options` to a stream that is ready to run: bundle, session, source, path, CRF, watch.

    with ExitStack() as stack:
        assembly = assemble(options, stack, drawn=False)
        with assembly.stream as stream:
            for result in stream: ...

What is opened on the way is closed when the stack unwinds.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engines.bundle import Bundle
from engines.manifest import CPU_TARGETS
from engines.session import Session, choose_target, open_session
from runtime.batches import Batches
from runtime.compare import ComparePath, choose_engines, compare_path, temporal
from runtime.cpu_path import CpuPath
from runtime.drift import Drift, watch
from runtime.drop_policy import drop_policy
from runtime.engine_name import EngineName, in_words
from runtime.frame_path import FramePath
from runtime.journal import tell
from runtime.lane import Lane
from runtime.options import Options
from runtime.overlay import Overlay
from runtime.pipeline import Stream
from runtime.redaction import redact
from runtime.refiner import CrfRefiner, Refiners, choose_crf
from runtime.shadow import Shadow, meeting_all, shadowed
from runtime.source import FrameSource, open_source
from runtime.sources.backoff import Retry
from runtime.split_view import SplitView
from runtime.switched_session import open_switched

if TYPE_CHECKING:
    from runtime.gpu_path import GpuPath


@dataclass(frozen=True)
class Chosen:
    """What runs, and why, in a few words each."""

    target: str
    precision: str
    crf: str
    drift: str
    beside: str | None  # the engine that every frame, or every Nth, is compared with


@dataclass(frozen=True)
class Camera:
    """One camera of the stream, and what works for it alone."""

    lane: Lane
    refiners: Refiners
    drawer: Overlay | SplitView | None  # of the window and recordings
    drift: Drift | None
    watched: str  # by it, in a few words
    comparison: ComparePath | None

    @property
    def name(self) -> str:
        """Of its source, safe to print."""
        return redact(self.lane.source.name)


@dataclass(frozen=True)
class Assembly:
    """A stream that has not been entered yet, and what it was made of."""

    stream: Stream
    cameras: tuple[Camera, ...]  # as many as the stream has lanes, in their order
    bundle: Bundle
    session: Session
    precisions: tuple[str, ...]  # that the session can be exchanged for
    shadow: Shadow | None
    chosen: Chosen

    def describe(self, temporal: str) -> str:
        """What runs, and why, in lines for people."""
        chosen = self.chosen
        beside = "" if chosen.beside is None else f"\n{chosen.beside}"
        return (
            f"{names(self.cameras)} -> {self.session.description}\n"
            f"target {chosen.target}\nprecision {chosen.precision}\ncrf {chosen.crf}\n"
            f"temporal {temporal}\ndrift {chosen.drift}{beside}"
        )


def names(cameras: Sequence[Camera]) -> str:
    """One name, or each with its number."""
    if len(cameras) == 1:
        return cameras[0].name
    return ", ".join(f"{number}: {camera.name}" for number, camera in enumerate(cameras))


def assemble(
    options: Options,
    stack: ExitStack,
    *,
    drawn: bool,
    sources: Sequence[FrameSource] | None = None,
) -> Assembly:
    """Open everything that `options` name; `drawn` results have a picture.

    `sources`, if there are some, take the place of those that the cameras' names stand for.
    Raises the `Failure` of whatever cannot be opened; a camera itself is opened by its stream.
    """
    if sources is None:
        sources = [open_camera(text, options, tell) for text in options.camera]
    bundle = Bundle.open(options.bundle)
    asked, other = EngineName(options.precision, options.target), None
    if options.compare is not None:
        asked, other, target_choice = choose_engines(bundle, options.compare, options.target)
        target = asked.target
    else:
        target, target_choice = choose_target(bundle, asked.target, asked.precision)
    on_gpu = target not in CPU_TARGETS
    _, crf_choice = choose_crf(options.crf, bundle.spec, options.crf_budget, on_gpu)
    precision, precision_choice = _choose_precision(asked.precision, bundle, target)
    session, precisions = _open_session(options, bundle, precision, target)
    stack.enter_context(session)
    beside, second, shadow, running = None, None, None, session
    if other is not None:
        second = stack.enter_context(open_session(bundle, other.precision, other.target))
        beside = f"compare {in_words(session)} with {second.description}"
        drawn = drawn or options.serve is not None  # the page shows both sides, too
    if options.shadow is not None:
        shadow, running, beside = shadowed(
            stack, bundle, session, meeting_all(options.shadow, len(sources))
        )
    shared = Shared(options, bundle, running, second, drawn, on_gpu)
    cameras = tuple(_make_camera(shared, source, stack) for source in sources)
    batches = _gpu_batch(stack, session) if on_gpu and len(cameras) > 1 else None
    stream = Stream([camera.lane for camera in cameras], batches)
    chosen = Chosen(target_choice, precision_choice, crf_choice, cameras[0].watched, beside)
    return Assembly(stream, cameras, bundle, session, precisions, shadow, chosen)


@dataclass(frozen=True)
class Shared:
    """What all cameras are made from."""

    options: Options
    bundle: Bundle
    session: Session
    second: Session | None  # that the other one is compared with
    drawn: bool
    on_gpu: bool


def _make_camera(shared: Shared, source: FrameSource, stack: ExitStack) -> Camera:
    """A camera with its way through the stream; what it opens beside is closed with the stack."""
    options, spec, session = shared.options, shared.bundle.spec, shared.session
    drift, probed, watched = _watch(shared, source)
    if probed is not None:
        session = stack.enter_context(probed)
    crf, _ = choose_crf(options.crf, spec, options.crf_budget, shared.on_gpu)
    refiners = Refiners(spec, crf, options.crf_budget)
    drop = drop_policy(options.drop, live=source.live)
    if shared.second is not None:
        split = SplitView(spec, options.alpha) if shared.drawn else None
        comparison = compare_path((session, shared.second), options, crf, split)
        return Camera(Lane(source, comparison, drop), refiners, split, None, watched, comparison)
    drawer = Overlay(spec, "", options.alpha, _notice(session, drift)) if shared.drawn else None
    path: FramePath[Any, Any]
    if shared.on_gpu:
        path = _gpu_path(stack, options, session, crf, drawer, drift)
    else:
        path = CpuPath(session, temporal(options), crf, drawer, drift)
    return Camera(Lane(source, path, drop), refiners, drawer, drift, watched, None)


def open_camera(text: str, options: Options, tell: Callable[[str], None]) -> FrameSource:
    """The source of one `--camera`; `tell` gets a line for people whenever its state changes."""
    retry = Retry(to_return=options.give_up)
    return open_source(text, drop=options.drop, retry=retry, tell=tell)


def _choose_precision(asked: str, bundle: Bundle, target: str) -> tuple[str, str]:
    """The precision to run, and the line that says why."""
    return (asked, f"{asked}: as asked") if asked != "auto" else bundle.choose_precision(target)


def _open_session(
    options: Options, bundle: Bundle, precision: str, target: str
) -> tuple[Session, tuple[str, ...]]:
    """The session, and the precisions that the page may exchange it for: a watch or a
    comparison knows but one."""
    if options.serve is None or options.drift or options.compare or options.shadow:
        return open_session(bundle, precision, target), (precision,)
    return open_switched(bundle, precision, target)


def _gpu_path(
    stack: ExitStack,
    options: Options,
    session: Session,
    crf: CrfRefiner | None,
    drawer: Overlay | None,
    watch: Drift | None,
) -> GpuPath:
    """The way of frames over the session's GPU, which ends before the session does."""
    from runtime.gpu_path import DeviceSession, GpuPath

    assert isinstance(session, DeviceSession), f"{session.target} leaves nothing on the device"
    return stack.enter_context(GpuPath(session, options.temporal == "on", crf, drawer, watch))


def _gpu_batch(stack: ExitStack, session: Session) -> Batches:
    """Runs frames of several cameras together, as far as the plan takes them."""
    from runtime.gpu_batch import GpuBatch
    from runtime.gpu_path import DeviceSession

    assert isinstance(session, DeviceSession), f"{session.target} leaves nothing on the device"
    return stack.enter_context(GpuBatch(session))


def _notice(session: Session, drift: Drift | None) -> Callable[[], str]:
    """What the overlay's status line ends with: the model of this moment, and warnings."""

    def notice() -> str:
        warnings = "" if drift is None else drift.notice()
        return f"{in_words(session)}   {warnings}".rstrip()

    return notice


def _watch(shared: Shared, source: FrameSource) -> tuple[Drift | None, Session | None, str]:
    """What `--drift` adds for a camera: see `runtime.drift.watch`."""
    if not shared.options.drift:
        return None, None, "not watched"
    whose = f"{redact(source.name)}: " if len(shared.options.camera) > 1 else ""

    def say(line: str) -> None:
        print(f"{whose}{line}", file=sys.stderr, flush=True)

    return watch(shared.bundle, shared.session, say)
