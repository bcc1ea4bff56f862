"""How far a build is: the library's progress monitor as one bar with phase and time left.

A phase has steps, and a step may be a phase of its own; so the share that is done is that of the
outermost phase, refined by its children. Libraries without a monitor show nothing.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from export.plans.library import abilities

FORMAT = "{desc}: {percentage:3.0f}%|{bar}| [{elapsed}<{remaining}]"


@dataclass
class Phase:
    """A part of a build with `steps` steps, `done` of which are complete."""

    steps: int
    done: int = 0
    children: dict[str, Phase] = field(default_factory=dict)

    @property
    def share(self) -> float:
        """What is complete of it, 0 to 1; running children count within the step they are in."""
        inner = max((child.share for child in self.children.values()), default=0.0)
        return min((self.done + inner) / max(self.steps, 1), 1.0)


class Phases:
    """The running phases of one build, by name."""

    def __init__(self) -> None:
        self._running: dict[str, Phase] = {}
        self._parents: dict[str, Phase | None] = {}
        self._share = 0.0

    def start(self, name: str, parent: str | None, steps: int) -> None:
        """A phase begins; without a parent it is a build's outermost."""
        above = self._running.get(parent) if parent is not None else None
        phase = Phase(steps)
        self._running[name], self._parents[name] = phase, above
        if above is not None:
            above.children[name] = phase

    def step(self, name: str, step: int) -> None:
        """Step number `step`, from 0, of a phase is complete."""
        if name in self._running:
            self._running[name].done = step + 1
            self._running[name].children.clear()

    def finish(self, name: str) -> None:
        """A phase is over; its parent counts it with its own next step."""
        self._running.pop(name, None)
        self._parents.pop(name, None)

    @property
    def share(self) -> float:
        """What is complete of the build, 0 to 1; it never goes back."""
        roots = [self._running[name] for name, above in self._parents.items() if above is None]
        self._share = max(self._share, *(root.share for root in roots), 0.0)
        return self._share


@contextmanager
def interrupts_held() -> Iterator[Callable[[], bool]]:
    """Keep Ctrl-C and SIGTERM for the end of the block; yields whether there was one.

    Python would raise it in whichever of our callbacks runs next, which for thousands of lines is
    the log's, and TensorRT drops what a logger raises: it would be lost, and the build go on.
    """
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    held = {number: handler for number, handler in handlers.items() if callable(handler)}
    told: list[int] = []
    try:
        for number in held:
            signal.signal(number, lambda number, _frame: told.append(number))
    except ValueError:  # not the main thread, which alone gets signals
        held = {}
    try:
        yield lambda: bool(told)
    finally:
        for number, handler in held.items():
            signal.signal(number, handler)
        if told:
            held[signal.Signals(told[0])](told[0], None)


@contextmanager
def watching(trt: ModuleType, config: Any, quiet: bool, stop: Callable[[], bool]) -> Iterator[None]:
    """Show a build's progress on stderr while the block runs, and end it early when `stop` says so.

    An exception in the callbacks may not pass through the library's C++: it stops the build and is
    raised after it.
    """
    if quiet or not abilities(trt).progress:
        yield
        return
    from tqdm import tqdm

    with tqdm(desc="building the plan", total=100, disable=None, bar_format=FORMAT) as bar:
        monitor = _monitor(trt, bar, stop)
        config.progress_monitor = monitor
        yield
    if monitor.failure is not None:
        raise monitor.failure


def _monitor(trt: ModuleType, bar: Any, stop: Callable[[], bool]) -> Any:
    base: Any = trt.IProgressMonitor

    class Monitor(base):  # type: ignore[misc]
        def __init__(self) -> None:
            base.__init__(self)
            self.phases = Phases()
            self.failure: BaseException | None = None
            self.alone = threading.Lock()  # the library calls from several threads of its own

        def phase_start(self, name: str, parent: str | None, steps: int) -> None:
            self._safely(self.phases.start, name, parent, steps)
            self._safely(bar.set_description_str, name, refresh=False)

        def step_complete(self, name: str, step: int) -> bool:
            self._safely(self.phases.step, name, step)
            self._safely(self._show)
            return self.failure is None and not stop()

        def phase_finish(self, name: str) -> None:
            self._safely(self.phases.finish, name)

        def _show(self) -> None:
            bar.update(100 * self.phases.share - bar.n)

        def _safely(self, call: Any, *arguments: Any, **named: Any) -> None:
            try:
                with self.alone:
                    call(*arguments, **named)
            except BaseException as error:
                self.failure = error

    return Monitor()
