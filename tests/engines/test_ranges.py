"""Calibration ranges: round trip, and never used for what they do not belong to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from engines.failures import Refused
from engines.ranges import Ranges, RangesKey

KEY = RangesKey(model="m", spec="s", preprocessing="p", frames="f", method="minmax")
RANGES = Ranges(KEY, 120, {"b/Conv": (-1.5, 2.0), "a/Clip": (0.0, 6.0)}, {"onnx": "1"})


def test_round_trip_is_exact_and_bytes_do_not_depend_on_order(tmp_path: Path) -> None:
    path, other = tmp_path / "a.json", tmp_path / "b.json"
    RANGES.save(path)
    replace(RANGES, tensors=dict(reversed(RANGES.tensors.items()))).save(other)
    assert Ranges.load(path) == RANGES
    assert path.read_bytes() == other.read_bytes()


@pytest.mark.parametrize("field", ["model", "spec", "preprocessing", "frames", "method"])
def test_another_key_does_not_fit_and_an_open_one_does(field: str) -> None:
    assert RANGES.misfit(KEY) is None
    assert RANGES.misfit(replace(KEY, **{field: "other"})) is not None  # type: ignore[arg-type]
    assert RANGES.misfit(replace(KEY, **{field: ""})) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", [(1.0, 0.0), (float("nan"), 1.0), (0.0, float("inf"))])
def test_ranges_that_are_no_ranges_are_refused(bad: tuple[float, float]) -> None:
    with pytest.raises(Refused, match="b/Conv"):
        replace(RANGES, tensors={"b/Conv": bad})


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"key": {}}'])
def test_a_damaged_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(Refused, match=r"r\.json"):
        Ranges.load(tmp_path / "r.json")
