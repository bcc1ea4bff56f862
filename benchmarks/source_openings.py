"""Faulty cameras opened again and again in one process: whether FFmpeg or its binding leaks."""

from __future__ import annotations

from contextlib import closing, suppress
from dataclasses import dataclass, replace
from itertools import islice

from benchmarks import camera_faults
from benchmarks.camera_faults import http_camera
from benchmarks.process_holdings import held
from engines.failures import SourceFailed
from runtime.sources.capture import Capture
from runtime.sources.network import network_feed

AT_ONCE = [  # faults that no time-out has to pass for
    camera_faults.no_http,
    camera_faults.garbage,
    camera_faults.failing,
    camera_faults.missing,
    camera_faults.unauthorised,
    camera_faults.redirects_to_a_file,
    camera_faults.redirects_for_ever,
    camera_faults.playlist,
]


@dataclass(frozen=True)
class OpeningRow:
    """A faulty camera opened and read in this process again and again, and what that left."""

    name: str
    times: int
    files: int
    threads: int
    megabytes: float  # from after the first tenth on


def open_often(fault: camera_faults.Fault, times: int) -> OpeningRow:
    """Open a faulty camera and take up to three pictures, `times` times, without a reader."""
    files, threads, memory = held()
    with http_camera(fault) as port:
        feed = replace(network_feed(f"http://127.0.0.1:{port}/live"), opening=5.0, reading=5.0)
        for index in range(times):
            if index == times // 10:
                memory = held()[2]
            with suppress(SourceFailed), closing(iter(Capture(feed))) as pictures:
                list(islice(pictures, 3))
    after = held()
    growth = (after[0] - files, after[1] - threads, (after[2] - memory) / 2**20)
    return OpeningRow(fault.__name__.replace("_", " "), times, *growth)
