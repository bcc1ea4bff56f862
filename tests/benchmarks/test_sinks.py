"""The benchmark of sinks runs, and OpenCV finds the same regions."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.sinks import SINKS, SIZES, Options, parse, run


def test_all_rows(tiny_bundle: Path) -> None:
    pytest.importorskip("cv2", reason="OpenCV is the peer")
    options = Options(tiny_bundle, "fp32", maps=1, frames=3, laps=1)
    rows = {row.name: row for row in run(options).results}
    assert list(rows) == [*(f"regions of {size}" for size in SIZES), *list(SINKS)[1:]]
    for size in SIZES:
        assert rows[f"regions of {size}"].agreement == 1
    for row in rows.values():
        assert row.ratio == pytest.approx(row.peer_ms / row.ours_ms, abs=0.02, rel=0.02)
        assert row.core_ms > 0


def test_defaults_are_one_place() -> None:
    assert parse([]) == Options()
