"""Running a reader over many inputs: a few by default, for FUZZ_SECONDS each where that is set."""

from __future__ import annotations

import multiprocessing
import os
import resource
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import SearchStrategy

from tests.fuzz.guard import PATIENCE, check

SECONDS = float(os.environ.get("FUZZ_SECONDS", "0"))
ROUND = 200  # examples at a time, while there are seconds left
ADDRESS_SPACE = 16 << 30  # bytes: what a parser in C++ may ask for; most is never touched
Fuzz = Callable[..., None]


@pytest.fixture
def fuzz(tmp_path: Path) -> Fuzz:
    """`fuzz(call, inputs, known=..., examples=...)`: `call(item)` for items of the strategy, and
    for those `known` from earlier, gives a result or one sentence; see `tests.fuzz.guard`."""
    return _runner(lambda call, item: check(call, item, tmp_path))


@pytest.fixture(scope="session")
def apart() -> Iterator[_Apart]:
    with _Apart() as process:
        yield process


@pytest.fixture
def fuzz_apart(apart: _Apart, tmp_path: Path) -> Fuzz:
    """As `fuzz`, for readers in C++, which may end the process: in one beside this one.

    The call must be a function of a module, which that process imports.
    """
    return _runner(lambda call, item: apart.check(call, item, tmp_path))


class _Apart:
    """A process that takes the blows; a new one follows where it falls."""

    def __init__(self) -> None:
        self._pool = self._new()

    def __enter__(self) -> _Apart:
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown()

    def check(self, call: Callable[[Any], object], item: object, folder: Path) -> None:
        """A dead or silent process is an AssertionError."""
        try:
            self._pool.submit(check, call, item, folder).result(2 * PATIENCE)
        except (BrokenProcessPool, TimeoutError) as error:
            for process in list(self._pool._processes.values()):
                process.kill()
            self._pool = self._new()
            raise AssertionError(f"the process fell over it: {error!r}") from error

    @staticmethod
    def _new() -> ProcessPoolExecutor:
        spawn = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(1, spawn, initializer=_limit_memory)


def _limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))


def _runner(judge: Callable[[Callable[[Any], object], Any], object]) -> Fuzz:
    def run(
        call: Callable[[Any], object],
        inputs: SearchStrategy[Any],
        known: Iterable[Any] = (),
        examples: int = 40,
    ) -> None:
        for item in known:
            judge(call, item)
        end = time.monotonic() + SECONDS
        _round(judge, call, inputs, examples)
        while time.monotonic() < end:
            _round(judge, call, inputs, ROUND)

    return run


def _round(
    judge: Callable[[Callable[[Any], object], Any], object],
    call: Callable[[Any], object],
    inputs: SearchStrategy[Any],
    examples: int,
) -> None:
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(inputs)
    def once(item: Any) -> None:
        judge(call, item)

    once()
