"""The most memory that a CRF takes beyond its input, each measured in a process of its own.

A process's high-water mark (VmHWM) never falls, so what ran before would hide what is measured.
Counted is all that comes after libraries and input are loaded: tables, scratch and results. Ours
keeps its buffers, so it gets two frames; pydensecrf starts anew with each.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from benchmarks.crf_cases import Case, Frame, Logits
from engines.labels import upsample
from engines.spec import CrfParams

STATUS = Path("/proc/self/status")
FRAMES = 2


def peak_of_ours(case: Case, params: CrfParams, mode: str, threads: int) -> float:
    """Megabytes that `DenseCrf` takes on the CPU."""
    return _in_new_process(_ours, case, params, mode, threads)


def peak_of_peer(case: Case, params: CrfParams) -> float:
    """Megabytes that pydensecrf takes, its full-resolution logits not counted."""
    return _in_new_process(_peer, case, params)


def _in_new_process(
    measure: Callable[..., float], case: Case, params: CrfParams, *details: str | int
) -> float:
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as process:
        return process.submit(measure, case.frame, case.logits, params, *details).result()


def _ours(frame: Frame, logits: Logits, params: CrfParams, mode: str, threads: int) -> float:
    import crf.native_crf  # noqa: F401  what DenseCrf loads when it is made
    from crf import DenseCrf

    def refine() -> None:
        dense_crf = DenseCrf(frame.shape[:2], len(logits), params, "cpu", mode, threads)
        for _ in range(FRAMES):
            dense_crf.refine(frame, logits)

    return _peak_mb(refine)


def _peer(frame: Frame, logits: Logits, params: CrfParams) -> float:
    from benchmarks.crf_contenders import PyDenseCrf

    peer = PyDenseCrf(params)
    case = Case(frame.copy(), logits, upsample(logits, frame.shape[:2]))

    return _peak_mb(lambda: peer.run(case))


def _peak_mb(work: Callable[[], object]) -> float:
    """How far memory rises during `work`; too much where it stays below an earlier peak."""
    before = _status_mb("VmRSS")
    work()
    return _status_mb("VmHWM") - before


def _status_mb(entry: str) -> float:
    """An entry of /proc/self/status, which says kB and means KiB."""
    entries = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
    return int(entries[entry].removesuffix("kB")) * 1024 / 1e6
