"""Segment a camera, video or folder live: mask, legend and frame age, in a window or a file."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING

from engines.command import parser, run_command
from runtime.config_file import with_config
from runtime.options import Options, add_flags

if TYPE_CHECKING:
    from runtime.lane import Result
    from runtime.pipeline import Stream
    from runtime.serving.access import Access
    from runtime.serving.channel import Channel
    from runtime.sinks.opening import Sinks
    from runtime.summary import Summary


def parse(argv: list[str] | None) -> Options:
    """Read the command line."""
    result = parser(__doc__, "python runtime/stream.py --camera 0 --record out.mp4")
    add_flags(result)
    result.set_defaults(**{f.name: f.default for f in fields(Options) if f.default is not MISSING})
    known = {f.name.replace("_", "-") for f in fields(Options)} - {"config"}
    words = with_config(sys.argv[1:] if argv is None else argv, known)
    result.set_defaults(allow_host=[])  # argparse appends to it
    values = vars(result.parse_args(words))
    many = {name: tuple(values[name]) for name in ("camera", "allow_host")}
    return Options(**{**values, **many})


def run(options: Options) -> Summary:
    """Stream until the source ends, N frames are done, a sink has enough or a signal comes."""
    if not options.headless:
        from runtime.sinks.window import load_opencv

        load_opencv()
    from runtime.assembly import assemble, names
    from runtime.journal import journal, tell
    from runtime.serving.attach import any_well, make_channels, self_test, start_server
    from runtime.signals import stopping_on_signals
    from runtime.sinks.json_lines import keep_for_results
    from runtime.sinks.opening import check_sinks, open_sinks
    from runtime.summary import summarise
    from runtime.systemd import Watchdog

    access = _access(options)
    check_sinks(options)
    with ExitStack() as stack:
        stack.enter_context(keep_for_results(options.results))
        stack.enter_context(journal(options.log))
        windowed = _wants_window(options)
        assembly = assemble(options, stack, drawn=windowed or options.record is not None)
        stream, session = assembly.stream, assembly.session
        stops = [stream.stop]
        stack.enter_context(stopping_on_signals(lambda: _call_all(stops)))
        channels = [stack.enter_context(one) for one in make_channels(assembly, options)]
        stack.enter_context(Watchdog(any_well(channels)))
        if access is not None:
            problem = self_test(session, assembly.bundle)
            print(f"page {start_server(stack, channels, access, problem)}")
        sinks = open_sinks(stack, options, assembly, windowed=windowed)
        stops.append(sinks.stop)
        stream.idle = sinks.idle if windowed else None
        print(assembly.describe(options.temporal), flush=True)
        if options.log == "json":  # what standard output tells people
            camera, crf = names(assembly.cameras), assembly.chosen.crf
            tell("started", camera=camera, engine=session.description, crf=crf)
        ended = _consume(stack.enter_context(stream), channels, sinks, options.frames)
        if options.log == "json":
            tell("ended", how=ended, frames=stream.ages.count, fps=round(stream.fps, 2))
    return summarise(assembly, options, ended, sinks.to_json())


def _call_all(functions: Sequence[Callable[[], None]]) -> None:
    for function in functions:
        function()


def _access(options: Options) -> Access | None:
    """Who may see the page; None without one."""
    if options.serve is None:
        return None
    from runtime.serving.access import choose_access
    from runtime.serving.address import parse_address

    address = parse_address(options.serve)
    return choose_access(address, options.token_file, options.insecure, options.allow_host)


def _wants_window(options: Options) -> bool:
    """Whether to open a window; says so, once, where there cannot be one."""
    from runtime.sinks.window import why_no_window

    if options.headless:
        return False
    reason = why_no_window()
    if reason is not None:
        hint = "" if options.record else " (use --record FILE to keep the result)"
        print(f"{reason}: running headless{hint}")
    return reason is None


def _consume(stream: Stream, channels: Sequence[Channel], sinks: Sinks, limit: int | None) -> str:
    """Serve results and feed the sinks until something ends the stream; what it was."""
    from runtime.summary import END_OF_SOURCE

    progress = Progress(sys.stdout.isatty())
    for count, result in enumerate(stream, start=1):
        channels[result.camera].publish(result)
        if not sinks.put(result):
            return f"{sinks.ended_by} closed"
        progress.show(count, stream, result)
        if count == limit:
            return f"--frames {limit}"
    if sinks.ended_by:  # while no result came
        return f"{sinks.ended_by} closed"
    return "stopped by signal" if stream.stopped else END_OF_SOURCE


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
    from runtime.sinks.json_lines import keep_for_results
    from runtime.summary import show as show_summary

    with keep_for_results(summary.results):
        show_summary(summary)


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run_command(argv, parse, run, show)


if __name__ == "__main__":
    raise SystemExit(main())
