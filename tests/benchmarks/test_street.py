"""The street benchmark runs and says what others rely on."""

from __future__ import annotations

from benchmarks.street import Options, run


def test_a_short_run_has_one_agreeing_row() -> None:
    (row,) = run(Options(frames=3, warm_up=1)).results
    assert row.agreement == 1.0
    assert row.ours_ms > 0
    assert row.frames_per_second > 0
