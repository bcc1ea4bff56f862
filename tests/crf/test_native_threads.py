"""The C++ core and threads: the same bits for any number, beside others, and none left behind."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from crf import DenseCrf
from crf.native_crf import NativeCrf
from engines._native import simd_levels
from engines.spec import CrfParams

Case = tuple[NDArray[np.uint8], NDArray[np.float32]]
Scenes = Callable[..., Case]

PARAMS = CrfParams(4, 49, 5, 3, 3, iterations=3)
SIZE = (220, 300)  # nine tiles


def results(
    case: Case, threads: int, level: str | None = None, fast: bool = False
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    crf = NativeCrf(SIZE, len(case[1]), PARAMS, fast, threads, level)
    crf.run(*case, None)
    return crf.labels(), crf.marginals()


@pytest.mark.parametrize("level", simd_levels())
@pytest.mark.parametrize(
    ("kind", "classes", "fast"),
    [("textured", 21, False), ("noise", 2, False), ("textured", 21, True)],
    ids=["21 classes", "noise", "fast"],
)
def test_any_number_of_threads_gives_the_same_bits(
    scene: Scenes, kind: str, classes: int, fast: bool, level: str
) -> None:
    case = scene(kind, *SIZE, classes)
    labels, marginals = results(case, 1, level, fast)
    for threads in (1, 2, 3, 7):
        again = results(case, threads, level, fast)
        np.testing.assert_array_equal(again[0], labels)
        np.testing.assert_array_equal(again[1], marginals)


def test_two_objects_at_once_work_as_alone(scene: Scenes) -> None:
    cases = [scene("textured", *SIZE, classes) for classes in (3, 11)]
    alone = [results(case, 2) for case in cases]

    def repeat(index: int) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float32]]]:
        crf = NativeCrf(SIZE, len(cases[index][1]), PARAMS, threads=2)
        for _ in range(5):
            crf.run(*cases[index], None)
            yield crf.labels(), crf.marginals()

    with ThreadPoolExecutor(2) as pool:
        for expected, seen in zip(alone, pool.map(lambda i: list(repeat(i)), [0, 1]), strict=True):
            for labels, marginals in seen:
                np.testing.assert_array_equal(labels, expected[0])
                np.testing.assert_array_equal(marginals, expected[1])


def test_python_goes_on_while_the_core_works(scene: Scenes) -> None:
    """With a switch interval of minutes, this thread gets the GIL only when `run` releases it."""
    case = scene("textured", *SIZE, 21)
    crf = NativeCrf(SIZE, 21, PARAMS, threads=2)
    started, went_on, ran_beside = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        started.set()
        for _ in range(100):  # one is enough, unless the system is slow to wake the main thread
            crf.run(*case, None)
            if went_on.is_set():
                ran_beside.set()
                return

    interval = sys.getswitchinterval()
    sys.setswitchinterval(600)
    try:
        worker = threading.Thread(target=work)
        worker.start()
        started.wait()
        went_on.set()
        worker.join()
    finally:
        sys.setswitchinterval(interval)
    assert ran_beside.is_set()


def test_objects_take_their_threads_with_them(scene: Scenes) -> None:
    """A thread that was joined may stay in /proc for a moment: hence "a few", of 90 started."""
    frame, logits = scene("textured", 20, 30)
    before = len(list(Path("/proc/self/task").iterdir()))
    for _ in range(30):
        DenseCrf((20, 30), 4, PARAMS, "cpu", threads=4).refine(frame, logits)
    assert len(list(Path("/proc/self/task").iterdir())) < before + 4


FORKED = """
import os, sys
import numpy as np
from crf.native_crf import NativeCrf
from engines.spec import CrfParams

crf = NativeCrf((50, 60), 4, CrfParams(2, 40, 5, 1, 1, iterations=2), threads=3)
frame, logits = np.zeros((50, 60, 3), np.uint8), np.zeros((4, 50, 60), np.float32)
crf.run(frame, logits, None)
child = os.fork()
crf.run(frame, logits, None)
del crf
sys.exit(0 if child == 0 else os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_forked_child_gets_threads_of_its_own() -> None:
    """Without them it would wait for ever for threads that a fork does not copy."""
    command = [sys.executable, "-W", "ignore", "-c", FORKED]
    assert subprocess.run(command, timeout=60, check=False).returncode == 0
