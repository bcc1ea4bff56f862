"""Sampling a running program: what it says of itself, what it holds, what its viewers see."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from tqdm import tqdm

from benchmarks.soak_program import Program
from benchmarks.soak_verdict import PERIODS, Look, Sample
from benchmarks.soak_viewer import SoakViewer
from engines.failures import Failure

EVERY = 1.0  # s between two samples
ON_ITS_WAY = 0.2  # s in which a picture that the program has reaches the screen
FRESH_WITHIN = 60.0  # s until all cameras are live


def wait_until_live(program: Program, names: Sequence[str]) -> None:
    """Until every camera is."""
    deadline = time.monotonic() + FRESH_WITHIN
    while not all(program.metrics().get(("deeplab_fresh", name)) for name in names):
        if time.monotonic() > deadline:
            raise Failure(f"the cameras were not live within {FRESH_WITHIN:g} s: is the load high?")
        time.sleep(0.2)


def watch(
    program: Program,
    viewers: Sequence[SoakViewer],
    names: Sequence[str],
    seconds: int,
    recording_for: float,
) -> list[Sample]:
    """A sample each second; the record button is pressed every `recording_for` seconds."""
    samples: list[Sample] = []
    recording = False
    began = time.monotonic()
    for second in tqdm(range(seconds), disable=None, unit="s"):
        time.sleep(max(0.0, began + EVERY * second - time.monotonic()))
        at = time.monotonic() - began
        if recording is not bool(int(at / recording_for) % 2):
            recording = not recording
            for name in names:
                program.record(name, recording)
        samples.append(take_sample(program, viewers, names, at, recording))
    return samples


def take_sample(
    program: Program,
    viewers: Sequence[SoakViewer],
    names: Sequence[str],
    at: float,
    recording: bool,
) -> Sample:
    """One moment: what the program says, and how old what it means by that was then."""
    asked = time.monotonic()
    said = program.metrics()
    holdings = program.holdings()
    time.sleep(ON_ITS_WAY)
    looks = []
    for viewer, name in zip(viewers, names, strict=True):
        shown = viewer.now
        age = float("inf") if shown is None else max(0.0, asked - shown.sent)
        limit = 0.0 if shown is None else PERIODS * shown.period + shown.processing
        counts = (
            int(said[f"deeplab_{what}_total", name])
            for what in ("frames", "reconnects", "dropped_frames")
        )
        looks.append(Look(bool(said["deeplab_fresh", name]), age, limit, *counts))
    return Sample(at, recording, holdings, tuple(looks), os.getloadavg()[0])
