"""From `Options` to a stream that is ready to run: bundle, session, source, path, CRF, watch.

    with ExitStack() as stack:
        assembly = assemble(options, stack, drawn=False)
        with assembly.stream as stream:
            for result in stream: ...

What is opened on the way is closed when the stack unwinds.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from crf.temporal import TemporalEvidence
from engines.bundle import Bundle
from engines.manifest import CPU_TARGETS
from engines.session import Session, choose_target, open_session
from runtime.drift import Drift, watch
from runtime.drop_policy import drop_policy
from runtime.journal import tell
from runtime.options import Options
from runtime.overlay import Overlay
from runtime.pipeline import Stream
from runtime.redaction import redact
from runtime.refiner import CrfRefiner, choose_crf
from runtime.source import open_source
from runtime.sources.backoff import Retry
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


@dataclass(frozen=True)
class Assembly:
    """A stream that has not been entered yet, and what it was made of."""

    stream: Stream
    bundle: Bundle
    session: Session
    precisions: tuple[str, ...]  # that the session can be exchanged for
    crf: CrfRefiner | None
    drawer: Overlay | None  # of the window and recordings
    drift: Drift | None
    chosen: Chosen

    def describe(self, temporal: str) -> str:
        """What runs, and why, in lines for people."""
        chosen = self.chosen
        return (
            f"{redact(self.stream.source.name)} -> {self.session.description}\n"
            f"target {chosen.target}\nprecision {chosen.precision}\ncrf {chosen.crf}\n"
            f"temporal {temporal}\ndrift {chosen.drift}"
        )


def assemble(options: Options, stack: ExitStack, *, drawn: bool) -> Assembly:
    """Open everything that `options` name; `drawn` results have a picture.

    Raises the `Failure` of whatever cannot be opened; a camera itself is opened by its stream.
    """
    source = open_source(
        options.camera[0], drop=options.drop, retry=Retry(to_return=options.give_up), tell=tell
    )
    drop = drop_policy(options.drop, live=source.live)
    bundle = Bundle.open(options.bundle)
    target, target_choice = choose_target(bundle, options.target, options.precision)
    on_gpu = target not in CPU_TARGETS
    crf, crf_choice = choose_crf(options.crf, bundle.spec, options.crf_budget, on_gpu)
    precision, precision_choice = _choose_precision(options.precision, bundle, target)
    session, precisions = _open_session(options, bundle, precision, target)
    stack.enter_context(session)
    drift, probed, watched = _watch(options, bundle, session)
    if probed is not None:
        session = stack.enter_context(probed)
    drawer = Overlay(bundle.spec, "", options.alpha, _notice(session, drift)) if drawn else None
    temporal = TemporalEvidence() if options.temporal == "on" else None
    path = _gpu_path(stack, options, session, crf, drawer, drift) if on_gpu else None
    stream = Stream(
        source,
        session,
        temporal=temporal,
        refiner=crf,
        drawer=drawer,
        watch=drift,
        path=path,
        drop=drop,
    )
    chosen = Chosen(target_choice, precision_choice, crf_choice, watched)
    return Assembly(stream, bundle, session, precisions, crf, drawer, drift, chosen)


def _choose_precision(asked: str, bundle: Bundle, target: str) -> tuple[str, str]:
    """The precision to run, and the line that says why."""
    return (asked, f"{asked}: as asked") if asked != "auto" else bundle.choose_precision(target)


def _open_session(
    options: Options, bundle: Bundle, precision: str, target: str
) -> tuple[Session, tuple[str, ...]]:
    """The session, and the precisions that the page may exchange it for: a watch knows but one."""
    if options.serve is None or options.drift:
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


def _notice(session: Session, drift: Drift | None) -> Callable[[], str]:
    """What the overlay's status line ends with: the model of this moment, and warnings."""

    def notice() -> str:
        warnings = "" if drift is None else drift.notice()
        return f"{session.precision} on {session.target}   {warnings}".rstrip()

    return notice


def _watch(
    options: Options, bundle: Bundle, session: Session
) -> tuple[Drift | None, Session | None, str]:
    """What `--drift` adds: see `runtime.drift.watch`."""
    if not options.drift:
        return None, None, "not watched"
    return watch(bundle, session, lambda line: print(line, file=sys.stderr, flush=True))
