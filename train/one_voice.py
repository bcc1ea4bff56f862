"""`run_command` for a script that torchrun starts several times: it speaks, writes and fails once.

All processes do the same work on different data, so each would print the same progress, result and
error. The first one speaks for all; a failure is told by whoever meets it first, because torchrun
ends the others as soon as one has ended. Without torchrun this is `run_command`.
"""

from __future__ import annotations

import dataclasses
import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout
from datetime import timedelta
from pathlib import Path

from engines.command import INTERRUPTED, OptionsT, ResultT, run_command
from engines.failures import Failure

PATIENCE = timedelta(seconds=30)  # for the store, which lives as long as torchrun on machine 0
CUT_OFF = ("Connection closed by peer", "Connection reset by peer")  # gloo's RuntimeErrors


def run_as_one(
    argv: list[str] | None,
    parse: Callable[[list[str] | None], OptionsT],
    run: Callable[[OptionsT], ResultT],
    show: Callable[[ResultT], None],
) -> int:
    """Parse, run, print, write JSON; return the exit code of this process."""
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        return run_command(argv, parse, run, show)
    leads = os.environ["RANK"] == "0"

    def parse_once(argv: list[str] | None) -> OptionsT:
        options = parsed(argv, parse)
        return options if leads else dataclasses.replace(options, json=None)  # type: ignore[type-var]

    def run_once(options: OptionsT) -> ResultT:
        with failing_once():
            return run(options)

    with nullcontext() if leads else muted():
        return run_command(argv, parse_once, run_once, show)


def parsed(argv: list[str] | None, parse: Callable[[list[str] | None], OptionsT]) -> OptionsT:
    """What `parse` makes of the flags; argparse prints its complaint itself: once, then."""
    complaint = io.StringIO()
    try:
        with redirect_stderr(complaint), failing_once():
            return parse(argv)
    except SystemExit as stop:
        if stop.code and complaint.getvalue() and first_to_fail():
            print(complaint.getvalue(), end="", file=sys.__stderr__, flush=True)
        raise


@contextmanager
def failing_once() -> Iterator[None]:
    """A failure leaves here for `run_command` in the process that met it first, and aloud there;
    the others end silently with the same exit code."""
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        if not first_to_fail():
            code = INTERRUPTED if isinstance(error, KeyboardInterrupt) else 1
            raise SystemExit(getattr(error, "exit_code", code)) from error
        sys.stderr = sys.__stderr__
        if any(words in str(error) for words in CUT_OFF):
            raise Failure(
                "another process of this run ended without a word (killed, or out of memory?): "
                "start again; a training goes on with --resume"
            ) from error
        raise


def first_to_fail() -> bool:
    """Whether no other process of this run has failed yet, by a counter in torchrun's store."""
    from torch.distributed import DistError, TCPStore  # type: ignore[attr-defined]

    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    try:
        store = TCPStore(address, port, is_master=False, timeout=PATIENCE)
        count = store.add(f"failed/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", 1)
    except DistError:
        return False  # torchrun has ended on machine 0: the failure was there
    return bool(count == 1)


@contextmanager
def muted() -> Iterator[None]:
    """Nothing is printed."""
    with Path(os.devnull).open("w") as nothing, redirect_stdout(nothing), redirect_stderr(nothing):
        yield
