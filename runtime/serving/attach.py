"""From the flags of `stream.py --serve` to a server beside its stream."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from engines.bundle import Bundle
from engines.failures import DeviceMissing, Failure
from engines.golden_test import golden_test
from engines.manifest import CPU_TARGETS
from engines.session import Session
from runtime.assembly import Assembly
from runtime.cpu_path import CpuPath
from runtime.journal import tell
from runtime.live_controls import LiveControls
from runtime.refiner import CrfRefiner, choose_crf
from runtime.serving.access import Access
from runtime.serving.channel import Channel
from runtime.serving.recordings import Recordings
from runtime.switched_session import SwitchedSession
from runtime.switches import CRF_MODES, Settings, Switches

NAME = "camera"  # of the one stream, in addresses and metrics


@dataclass(frozen=True)
class Wishes:
    """What the user set: the opacity to begin with, time for the CRF in ms, a folder."""

    alpha: float
    crf_budget: float | None
    recordings: Path | None


def make_channel(assembly: Assembly, wishes: Wishes) -> tuple[Channel, LiveControls]:
    """The stream as viewers see it, with the switches that its path and session allow."""
    stream, session, crf = assembly.stream, assembly.session, assembly.crf
    recordings = None
    if wishes.recordings is not None:
        recordings = Recordings(wishes.recordings, NAME, stream.source.fps)

    def make_refiner(mode: str) -> CrfRefiner:
        refiner, _ = choose_crf(mode, assembly.bundle.spec, wishes.crf_budget)
        assert refiner is not None
        return refiner

    controls = LiveControls(stream, session, make_refiner, crf, assembly.drawer)
    settings = Settings(wishes.alpha, crf.mode if crf else "off", session.precision)
    modes = CRF_MODES if isinstance(stream.path, CpuPath) else (settings.crf,)
    switches = Switches(settings, modes, assembly.precisions, controls)
    if isinstance(session, SwitchedSession):
        session.failed = _going_back(switches, session)
    return Channel(NAME, stream, session, switches, recordings), controls


def self_test(session: Session, bundle: Bundle) -> str | None:
    """Why the model must not be relied on, None if it may; for /readyz.

    Sessions of plans were tested when they were opened.
    """
    if session.target not in CPU_TARGETS:
        return None
    problem = golden_test(session, bundle).problem
    if problem is not None:
        tell("self-test failed", logging.WARNING, reason=problem)
    return None if problem is None else f"self-test: {problem}"


def start_server(
    stack: ExitStack, channels: list[Channel], access: Access, problem: str | None
) -> str:
    """Serve until `stack` unwinds; the page's address. `problem` is the self-test's."""
    try:
        from runtime.serving.server import Server
    except ModuleNotFoundError as error:
        raise DeviceMissing(
            f"--serve needs the package {error.name}: pip install aiohttp prometheus-client"
        ) from None
    return stack.enter_context(Server(channels, access, lambda: problem)).address.url


def _going_back(switches: Switches, session: Session) -> Callable[[Failure], None]:
    """What to do when a precision cannot be loaded: say so, and show the one that still runs."""

    def go_back(error: Failure) -> None:
        tell("precision not changed", logging.WARNING, reason=str(error))
        switches.change({"precision": session.precision})

    return go_back
