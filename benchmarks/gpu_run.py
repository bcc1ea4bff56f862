"""Runs the parts of `benchmarks/gpu.py`, one after another, and remembers how each ended.

The state is written after every part, so that an interruption loses one part and a second call goes
on with the rest.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from benchmarks.gpu_parts import Part
from benchmarks.gpu_place import ROOT, Command, Place
from engines.atomic import write_text
from engines.failures import DeviceMissing, Refused

TAIL = 12  # lines of a failed part's output that are kept
OK, FAILED, IMPOSSIBLE = "ok", "failed", "not possible here"


@dataclass(frozen=True)
class Outcome:
    """How a part ended: `reason` unless it went well, and the last lines of a failed one."""

    name: str
    status: str
    seconds: float = 0.0
    reason: str = ""
    tail: tuple[str, ...] = ()
    revision: str = ""


class State:
    """The outcomes so far, in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            data = json.loads(path.read_text())
            parts = [Outcome(**{**part, "tail": tuple(part["tail"])}) for part in data["parts"]]
        except FileNotFoundError:
            parts = []
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise Refused(f"{path} cannot be read ({error}): remove it, or use --again") from error
        self.outcomes = {part.name: part for part in parts}

    def add(self, outcome: Outcome) -> None:
        """Remember, and write."""
        self.outcomes[outcome.name] = outcome
        parts = [asdict(each) for each in self.outcomes.values()]
        write_text(self._path, json.dumps({"parts": parts}, indent=1) + "\n")


def run_part(
    part: Part, place: Place, seconds: float, rehearse: bool = False, revision: str = ""
) -> Outcome:
    """Run the commands of a part until one fails."""
    started = time.monotonic()
    status, reason = OK, ""
    tail: tuple[str, ...] = ()
    try:
        commands = part.rehearsal if rehearse else part.commands
        if commands is None:
            raise DeviceMissing("all of it needs a GPU")
        run_commands(commands(place), place, part.name, min(seconds, part.seconds))
    except DeviceMissing as error:
        status, reason = IMPOSSIBLE, str(error)
    except CommandFailed as error:
        status, reason, tail = FAILED, str(error), error.tail
    taken = round(time.monotonic() - started, 1)
    return Outcome(part.name, status, taken, reason, tail, revision)


class CommandFailed(Exception):
    """A process of a part ended badly; `tail` is the end of what it printed."""

    def __init__(self, reason: str, log: Path) -> None:
        super().__init__(reason)
        self.tail = tuple(printed(log)[-TAIL:])


def printed(log: Path) -> list[str]:
    """The lines of a log; results travel, so no folder of this machine is in them."""
    return without_folders(log.read_text(errors="replace")).splitlines()


def without_folders(text: str) -> str:
    """Paths in the repository become relative, others lose the user's name."""
    return text.replace(f"{ROOT}/", "").replace(str(Path.home()), "~")


def run_commands(commands: Sequence[Command], place: Place, name: str, seconds: float) -> None:
    """Run one after another; what they print goes to a file beside the state.

    Raises:
        CommandFailed: One failed, or did not end in time.
        DeviceMissing: One says that this machine lacks what it needs.
    """
    end = time.monotonic() + seconds
    log = place.out / f"{name}.log"
    with log.open("w") as output:
        for command in commands:
            output.write(f"$ {shlex.join(command.words)}\n")
            output.flush()
            code = run_one(command, place, output, max(end - time.monotonic(), 1))
            if code is None:
                raise CommandFailed(f"did not end within {seconds:.0f} s", log)
            if code in command.accepted:
                continue
            if code == command.lacking:
                raise DeviceMissing(printed(log)[-1].removeprefix("error: "))
            words = without_folders(shlex.join(command.words))
            raise CommandFailed(f"exit code {code}: {words}", log)


def run_one(command: Command, place: Place, output: IO[str], seconds: float) -> int | None:
    """The exit code, or None where it took too long and was ended, with all that it started."""
    environment = {**os.environ, "PATH": place.path, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command.words, cwd=ROOT, env=environment | dict(command.environment), text=True,
        stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
    ) as process:  # fmt: skip
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def source_revision() -> str:
    """Git's name of the sources, or "" where they came without it."""
    words = ["git", "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()
