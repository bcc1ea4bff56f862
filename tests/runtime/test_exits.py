"""However a stream ends, its recording plays, and its threads, readers and port are gone."""

from __future__ import annotations

import importlib
import itertools
import threading
from pathlib import Path

import pytest

from benchmarks.exit_cases import (
    GOES_ON,
    INJECTED,
    SIGNALS,
    STAGES,
    break_stage,
    frames_of,
    leave,
)
from runtime.stream import main

FAILS_AT = 5  # call of the stage


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage != GOES_ON])
def test_a_bug_in_a_stage_ends_the_stream_and_keeps_the_recording(
    stage: str, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, owner, name = STAGES[stage]
    kind = getattr(importlib.import_module(module), owner)
    monkeypatch.setattr(kind, name, getattr(kind, name))  # restored after `break_stage`
    calls = itertools.count(1)
    break_stage(stage, lambda: next(calls) == FAILS_AT)
    words = ["--camera", "street:?fps=50&size=64x48", "--bundle", str(tiny_bundle), "--headless"]
    words += ["--record", str(tmp_path / "out.mp4"), "--serve", "127.0.0.1:0"]
    before = threading.active_count()
    with pytest.raises(RuntimeError, match=INJECTED):
        main(words)
    assert threading.active_count() == before
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]
    assert frames_of(tmp_path / "out.mp4") > 0


@pytest.mark.parametrize(
    "cause",
    [
        pytest.param(cause, marks=[] if cause == "SIGTERM" else pytest.mark.slow)
        for cause in (*SIGNALS, *STAGES)
    ],
)
def test_a_program_leaves_nothing_behind(cause: str, tiny_bundle: Path, tmp_path: Path) -> None:
    left = leave(cause, tiny_bundle, tmp_path)
    assert left.clean, left
