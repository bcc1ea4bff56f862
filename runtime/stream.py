"""Segment a camera, video or folder live: mask, legend and frame age, in a window or a file."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from engines.command import parser, run_command
from engines.failures import UsageError
from runtime.config_file import with_config
from runtime.serving.flags import add_serving_flags

if TYPE_CHECKING:
    from engines.bundle import Bundle
    from engines.session import Session
    from runtime.drift import Drift
    from runtime.gpu_path import GpuPath
    from runtime.overlay import Overlay
    from runtime.pipeline import Result, Stream
    from runtime.record import Recorder
    from runtime.refiner import CrfRefiner
    from runtime.serving.access import Access
    from runtime.serving.channel import Channel
    from runtime.summary import Summary
    from runtime.window import Window


@dataclass(frozen=True)
class Options:
    """What the user asked for."""

    camera: str
    drop: str = "auto"
    give_up: float = float("inf")
    bundle: Path = Path("artifacts/camvid-mobilenetv2")
    precision: str = "auto"
    target: str = "auto"
    crf: str = "auto"
    crf_budget: float | None = None
    temporal: str = "on"
    drift: bool = False
    frames: int | None = None
    headless: bool = False
    record: Path | None = None
    alpha: float = 0.5
    serve: str | None = None
    token_file: Path | None = None
    insecure: bool = False
    allow_host: tuple[str, ...] = ()
    recordings: Path | None = None
    log: str = "text"
    config: Path | None = None
    json: Path | None = None

    def __post_init__(self) -> None:
        if self.frames is not None and self.frames < 1:
            raise UsageError(f"--frames {self.frames}: at least 1, or leave it out for all")
        if self.crf_budget is not None and not self.crf_budget > 0:
            raise UsageError(f"--crf-budget {self.crf_budget:g}: milliseconds above 0")
        if not self.give_up >= 0:
            raise UsageError(f"--give-up {self.give_up:g}: seconds, 0 or more")
        if not 0 <= self.alpha <= 1:
            raise UsageError(f"--alpha {self.alpha:g}: 0 (no mask) to 1 (mask only)")
        if self.serve is None and (self.token_file or self.recordings or self.insecure):
            raise UsageError("--token-file, --insecure and --recordings are for --serve HOST:PORT")


@dataclass(frozen=True)
class Sinks:
    """Where results go; either may be missing."""

    recorder: Recorder | None
    window: Window | None
    channel: Channel

    def put(self, result: Result, stream: Stream) -> bool:
        """Serve, record and show a result; False once the user closed the window."""
        self.channel.publish(result)
        if result.picture is None:
            return True
        if self.recorder is not None:
            with stream.timings.measure("record"):
                self.recorder.write(result.picture, result.frame.time)
        if self.window is not None:
            with stream.timings.measure("show"):
                return self.window.show(result.picture)
        return True


def parse(argv: list[str] | None) -> Options:
    """Read the command line."""
    result = parser(__doc__, "python runtime/stream.py --camera 0 --record out.mp4")
    _add_flags(result)
    result.set_defaults(**{f.name: f.default for f in fields(Options) if f.default is not MISSING})
    known = {f.name.replace("_", "-") for f in fields(Options)} - {"config"}
    words = with_config(sys.argv[1:] if argv is None else argv, known)
    result.set_defaults(allow_host=[])  # argparse appends to it
    values = vars(result.parse_args(words))
    return Options(**{**values, "allow_host": tuple(values["allow_host"])})


def _add_flags(result: argparse.ArgumentParser) -> None:
    result.add_argument(
        "--camera",
        required=True,
        metavar="SRC",
        help="camera index (0, '0?size=1280x720&fps=30&format=mjpeg'), device (/dev/video0), "
        "rtsp://user:password@host/path, http://host/stream.mjpg, csi://0, 'gst:PIPELINE', video, "
        "image, folder or pattern of images; street: is a virtual camera, as fast as it goes, and "
        "'street:?fps=30' a live one, which drops frames (docs/sources.md)",
    )
    result.add_argument(
        "--drop",
        metavar="POLICY",
        help="frames that are too many: newest (replace what was not taken), all (wait for each), "
        "budget=MS (drop what is older); auto: newest if live, else all",
    )
    result.add_argument(
        "--give-up",
        type=float,
        metavar="S",
        help="end when a camera that was live stays lost for S seconds (without: never)",
    )
    result.add_argument("--bundle", type=Path, metavar="DIR", help="the model (%(default)s)")
    result.add_argument(
        "--precision",
        choices=("auto", "fp32", "fp16", "int8", "mixed"),
        help="auto: the fastest one within the accuracy report's gate",
    )
    result.add_argument(
        "--target",
        choices=("auto", "cpu", "openvino", "tensorrt", "tensorrt-rtx"),
        help="what runs the model (auto: cpu, which is onnxruntime, or openvino where an accuracy "
        "report of this machine found it faster)",
    )
    result.add_argument(
        "--crf",
        choices=("auto", "off", "fast", "exact"),
        help="sharpen masks by a dense CRF (auto: fast if the model has parameters for it)",
    )
    result.add_argument(
        "--crf-budget",
        type=float,
        metavar="MS",
        help="begin no CRF iteration that would end later than this; at least one runs",
    )
    result.add_argument(
        "--temporal",
        choices=("on", "off"),
        help="steady the labels by the frames before where nothing changed (%(default)s)",
    )
    result.add_argument(
        "--drift",
        action=argparse.BooleanOptionalAction,
        help="warn where frames, or what they do inside the model, leave what calibration saw",
    )
    result.add_argument("--frames", type=int, metavar="N", help="stop after N frames")
    switch = argparse.BooleanOptionalAction
    result.add_argument("--headless", action=switch, help="open no window")
    result.add_argument("--record", type=Path, metavar="FILE", help="write .mp4, .mkv or .mov")
    result.add_argument("--alpha", type=float, metavar="A", help="mask opacity (%(default)s)")
    add_serving_flags(result)


def run(options: Options) -> Summary:
    """Stream until the source ends, N frames are done, the window is closed or a signal comes."""
    from crf.temporal import TemporalEvidence
    from engines.bundle import Bundle
    from engines.manifest import CPU_TARGETS
    from engines.session import choose_target
    from runtime.drop_policy import drop_policy
    from runtime.journal import journal, tell
    from runtime.overlay import Overlay
    from runtime.pipeline import Stream
    from runtime.record import Recorder, check_recordable
    from runtime.redaction import redact
    from runtime.refiner import choose_crf
    from runtime.serving.attach import Parts, Wishes, make_channel, self_test, start_server
    from runtime.signals import stopping_on_signals
    from runtime.source import open_source
    from runtime.sources.backoff import Retry
    from runtime.summary import summarise
    from runtime.systemd import Watchdog
    from runtime.window import Window

    access = _access(options)
    source = open_source(
        options.camera, drop=options.drop, retry=Retry(to_return=options.give_up), tell=tell
    )
    drop = drop_policy(options.drop, live=source.live)
    if options.record is not None:
        check_recordable(options.record, options.camera)
    bundle = Bundle.open(options.bundle)
    target, target_choice = choose_target(bundle, options.target, options.precision)
    options = replace(options, target=target)
    on_gpu = target not in CPU_TARGETS
    crf, crf_choice = choose_crf(options.crf, bundle.spec, options.crf_budget, on_gpu)
    precision, precision_choice = _choose_precision(options, bundle)
    windowed = _wants_window(options)
    with ExitStack() as stack:
        stack.enter_context(journal(options.log))
        session, precisions = _open_session(options, bundle, precision)
        stack.enter_context(session)
        drift, probed, watched = _watch(options, bundle, session)
        if probed is not None:
            session = stack.enter_context(probed)
        drawn = windowed or options.record is not None
        notice = _notice(session, drift)
        drawer = Overlay(bundle.spec, "", options.alpha, notice) if drawn else None
        temporal = TemporalEvidence() if options.temporal == "on" else None
        stream = Stream(
            source,
            session,
            temporal=temporal,
            refiner=crf,
            drawer=drawer,
            watch=drift,
            path=_gpu_path(stack, options, session, crf, drawer, drift) if on_gpu else None,
            drop=drop,
        )
        stack.enter_context(stopping_on_signals(stream.stop))
        channel, controls = make_channel(
            Parts(stream, session, precisions, bundle, crf, drawer),
            Wishes(options.alpha, options.crf_budget, options.recordings),
        )
        stack.enter_context(channel)
        stack.enter_context(Watchdog(channel.well))
        if access is not None:
            problem = self_test(session, bundle)
            print(f"page {start_server(stack, [channel], access, problem)}")
        sinks = Sinks(
            stack.enter_context(Recorder(options.record, source.fps)) if options.record else None,
            stack.enter_context(Window(f"DeepLab Edge: {source.name}")) if windowed else None,
            channel,
        )
        print(f"{redact(source.name)} -> {session.description}")
        print(f"target {target_choice}\nprecision {precision_choice}\ncrf {crf_choice}")
        print(f"temporal {options.temporal}\ndrift {watched}", flush=True)
        if options.log == "json":  # what standard output tells people
            tell("started", camera=source.name, engine=session.description, crf=crf_choice)
        ended = _consume(stack.enter_context(stream), sinks, options.frames)
        if options.log == "json":
            tell("ended", how=ended, frames=stream.ages.count, fps=round(stream.fps, 2))
    return summarise(
        stream,
        session,
        ended=ended,
        bundle=options.bundle,
        crf=crf_choice,
        crf_iterations=controls.crf_iterations(),
        temporal=options.temporal,
        record=options.record,
        drift=None if drift is None else drift.to_json(),
    )


def _access(options: Options) -> Access | None:
    """Who may see the page; None without one."""
    if options.serve is None:
        return None
    from runtime.serving.access import choose_access
    from runtime.serving.address import parse_address

    address = parse_address(options.serve)
    return choose_access(address, options.token_file, options.insecure, options.allow_host)


def _open_session(
    options: Options, bundle: Bundle, precision: str
) -> tuple[Session, tuple[str, ...]]:
    """The session, and the precisions that the page may exchange it for: a watch knows but one."""
    from engines.session import open_session
    from runtime.serving.attach import open_switched

    if options.serve is None or options.drift:
        return open_session(bundle, precision, options.target), (precision,)
    return open_switched(bundle, precision, options.target)


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
    from runtime.drift import watch

    return watch(bundle, session, lambda line: print(line, file=sys.stderr, flush=True))


def _choose_precision(options: Options, bundle: Bundle) -> tuple[str, str]:
    """The precision to run, and the line that says why."""
    if options.precision != "auto":
        return options.precision, f"{options.precision}: as asked"
    return bundle.choose_precision(options.target)


def _wants_window(options: Options) -> bool:
    """Whether to open a window; says so, once, where there cannot be one."""
    from runtime.window import why_no_window

    if options.headless:
        return False
    reason = why_no_window()
    if reason is not None:
        hint = "" if options.record else " (use --record FILE to keep the result)"
        print(f"{reason}: running headless{hint}")
    return reason is None


def _consume(stream: Stream, sinks: Sinks, limit: int | None) -> str:
    """Feed the sinks until something ends the stream; what it was."""
    progress = Progress(sys.stdout.isatty())
    for count, result in enumerate(stream, start=1):
        if not sinks.put(result, stream):
            return "window closed"
        progress.show(count, stream, result)
        if count == limit:
            return f"--frames {limit}"
    return "stopped by signal" if stream.stopped else "end of source"


class Progress:
    """One line a second, for people who watch a terminal."""

    def __init__(self, watched: bool) -> None:
        self._watched = watched
        self._next = time.monotonic() + 1

    def show(self, count: int, stream: Stream, result: Result) -> None:
        """Print where the stream is, if a second has passed."""
        if self._watched and time.monotonic() >= self._next:
            self._next = time.monotonic() + 1
            age = 1e3 * result.age
            print(
                f"{count} frames, {stream.fps:.1f} FPS, age {age:.0f} ms, dropped {stream.dropped}"
            )


def show(summary: Summary) -> None:
    """Print the summary."""
    from runtime.summary import show as show_summary

    show_summary(summary)


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run_command(argv, parse, run, show)


if __name__ == "__main__":
    raise SystemExit(main())
