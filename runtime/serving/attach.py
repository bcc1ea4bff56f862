"""From the flags of `stream.py --serve` to a server beside its stream."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from engines.bundle import Bundle
from engines.failures import DeviceMissing, Failure
from engines.golden_test import golden_test
from engines.manifest import CPU_TARGETS
from engines.session import Session
from runtime.agreement import Agreement
from runtime.assembly import Assembly, Camera
from runtime.cpu_path import CpuPath
from runtime.journal import tell
from runtime.live_controls import LiveControls
from runtime.options import Options
from runtime.serving.access import Access
from runtime.serving.channel import Channel
from runtime.serving.recordings import Recordings
from runtime.switched_session import SwitchedSession
from runtime.switches import CRF_MODES, Settings, Switches


def channel_names(count: int) -> list[str]:
    """What addresses and metrics call the cameras: `camera`, or with several `camera-0` and so on,
    the numbers of `Result.camera`."""
    return ["camera"] if count == 1 else [f"camera-{number}" for number in range(count)]


def make_channels(assembly: Assembly, options: Options) -> list[Channel]:
    """The cameras as viewers see them, with the switches that their paths and session allow."""
    names = channel_names(len(assembly.cameras))
    lock, switches = threading.RLock(), list[Switches]()

    def all_follow(precision: str) -> None:
        for other in switches:
            other.follow(precision)

    for number, camera in enumerate(assembly.cameras):
        controls = LiveControls(
            assembly.stream, number, assembly.session, camera.refiners, camera.drawer, all_follow
        )
        switches.append(_make_switches(assembly, camera, options.alpha, controls, lock))
    if isinstance(assembly.session, SwitchedSession):
        assembly.session.failed = _going_back(switches[0], assembly.session)
    return [
        Channel(
            name,
            camera.lane,
            assembly.session,
            its_switches,
            _recordings(options, name, camera),
            _agreement(assembly, camera),
            drawn=camera.comparison is not None,
        )
        for name, camera, its_switches in zip(names, assembly.cameras, switches, strict=True)
    ]


def any_well(channels: Sequence[Channel]) -> Callable[[], bool | None]:
    """For a watchdog: whether any camera's frames are fresh; None before there was a first one.

    One camera that is lost is told by /readyz and /metrics: a restart would bring down the others
    and not bring it back.
    """

    def well() -> bool | None:
        known = [channel.well() for channel in channels]
        return any(known) if any(one is not None for one in known) else None

    return well


def _make_switches(
    assembly: Assembly, camera: Camera, alpha: float, controls: LiveControls, lock: threading.RLock
) -> Switches:
    crf = camera.refiners.first
    settings = Settings(alpha, crf.mode if crf else "off", assembly.session.precision)
    modes = CRF_MODES if isinstance(camera.lane.path, CpuPath) else (settings.crf,)
    return Switches(settings, modes, assembly.precisions, controls, lock)


def _recordings(options: Options, name: str, camera: Camera) -> Recordings | None:
    if options.recordings is None:
        return None
    return Recordings(options.recordings, name, camera.lane.source.fps)


def _agreement(assembly: Assembly, camera: Camera) -> Agreement | None:
    """The camera's own with --compare; with --shadow the model's, the same for all cameras."""
    if camera.comparison is not None:
        return camera.comparison.agreement
    return None if assembly.shadow is None else assembly.shadow.agreement


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
