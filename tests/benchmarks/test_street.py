"""The street benchmark runs and says what others rely on."""

from __future__ import annotations

import pytest

from benchmarks.street import Options, run
from engines.failures import UsageError


def test_a_short_run_has_one_agreeing_row() -> None:
    (row,) = run(Options(frames=3, warm_up=1)).results
    assert row.agreement == 1.0
    assert row.ours_ms > 0
    assert row.frames_per_second > 0


def test_no_frame_has_no_median() -> None:
    with pytest.raises(UsageError, match="--frames must be at least 1"):
        Options(frames=0)
