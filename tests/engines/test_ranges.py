"""Calibration ranges: round trip, and never used for what they do not belong to."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engines.failures import Refused
from engines.ranges import FORMAT, Ranges, RangesKey

KEY = RangesKey(model="m", spec="s", preprocessing="p", frames="f", method="minmax")
RANGES = Ranges(
    KEY,
    120,
    {"b/Conv": (-1.5, 2.0), "a/Clip": (0.0, 6.0)},
    {"onnx": "1"},
    factors={"b/Conv": [1.0, 0.5]},
    biases={"u8": {"b/Conv": [0.125, -0.25]}, "s8": {"c/Conv": [1e-3]}},
    clipped={"b/Conv": 0.001, "a/Clip": 0.0},
)


def test_round_trip_is_exact_and_bytes_do_not_depend_on_order(tmp_path: Path) -> None:
    path, other = tmp_path / "a.json", tmp_path / "b.json"
    RANGES.save(path)
    replace(
        RANGES,
        tensors=dict(reversed(RANGES.tensors.items())),
        biases=dict(reversed(RANGES.biases.items())),
        clipped=dict(reversed(RANGES.clipped.items())),
    ).save(other)
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
        replace(RANGES, tensors={"b/Conv": bad}, clipped={})


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"factors": {"b/Conv": [1.0, 0.0]}}, "factors of b/Conv are not all positive"),
        ({"factors": {"b/Conv": [1.0, float("inf")]}}, "factors of b/Conv are not all positive"),
        ({"factors": {"b/Conv": [float("nan")]}}, "factors of b/Conv are not all positive"),
        ({"factors": {"b/Conv": []}}, "factors of b/Conv are not all positive"),
        ({"biases": {"s8": {"b/Conv": [0.0, float("nan")]}}}, "s8 biases of b/Conv are not all"),
        ({"biases": {"u8": {"b/Conv": []}}}, "u8 biases of b/Conv are not all finite"),
        ({"biases": {"u8": {"b/Conv": [1.0]}}}, "b/Conv has 1 biases and another number"),
        ({"biases": {"fp8": {}}}, "a flavour called 'fp8'"),
        ({"clipped": {"b/Conv": 1.5}}, "clipped share of b/Conv is 1.5"),
        ({"clipped": {"b/Conv": float("nan")}}, "clipped share of b/Conv is nan"),
        ({"clipped": {"z/Conv": 0.5}}, "clipped share of z/Conv"),
    ],
)
def test_repairs_that_are_none_are_refused(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(Refused, match=f"{sentence}.*calibrate again"):
        replace(RANGES, **fields)


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"key": {}}', '{"key": 3}', "\ufeff{}", '{"factors": 1}']
)
def test_a_damaged_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(Refused, match=r"r\.json"):
        Ranges.load(tmp_path / "r.json")


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"\x00" * 64])
def test_what_is_no_text_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "r.json").write_bytes(content)
    with pytest.raises(Refused, match=r"r\.json is not a valid ranges file"):
        Ranges.load(tmp_path / "r.json")


@pytest.mark.parametrize("name", ["tensors", "factors", "biases", "clipped"])
@pytest.mark.parametrize("value", [3, "abc", {"b/Conv": None}, {"u8": {"b/Conv": ["x"]}}])
def test_fields_of_another_type_are_refused(tmp_path: Path, name: str, value: Any) -> None:
    path = tmp_path / "r.json"
    RANGES.save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
    with pytest.raises(Refused, match=r"r\.json"):
        Ranges.load(path)


def test_a_value_that_is_wrong_is_refused_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    RANGES.save(path)
    path.write_text(path.read_text().replace("0.125", "NaN"))
    with pytest.raises(Refused, match=r"r\.json: u8 biases of b/Conv"):
        Ranges.load(path)


def test_a_file_of_the_first_format_tells_that_it_is_one(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    RANGES.save(path)
    data = json.loads(path.read_text())
    for name in ("factors", "biases", "clipped"):
        del data[name]
    data["key"]["format"] = 1
    path.write_text(json.dumps(data))
    old = Ranges.load(path)
    assert (old.factors, old.biases, old.clipped) == ({}, {}, {})
    assert "format" in str(old.misfit(KEY))
    assert FORMAT == 2
