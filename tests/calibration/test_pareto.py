"""The plot of a mixed-precision search says what was found."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from calibration.fidelity import Fidelity
from calibration.mixed import MixedSearch, pareto_front, pick
from calibration.mixing.pareto import draw
from calibration.mixing.probes import MILLISECONDS, SHARE
from calibration.mixing.trials import Point

SCORE = Fidelity(97.0, 99.4, 33.0)


@pytest.fixture
def found() -> MixedSearch:
    """Pure INT8, FP32, and two mixed graphs of which one pays."""
    int8, whole = Point("int8", {}, 0.42, 14.2, SCORE), Point("float", {}, 0, 43, SCORE)
    good = Point("mixed", {"a/Conv": "why", "b/Conv": "why"}, 0.25, 16, SCORE)
    bad = Point("mixed", {"c/Conv": "why"}, 0.4, 17, SCORE)
    tried = [int8, good, bad]
    front = pareto_front([*tried, whole])
    return MixedSearch(
        "u8", MILLISECONDS, "labels", 50, 0.3, int8, whole, tried, front, [], {"cpu": "a CPU"}
    )


def texts(path: Path) -> str:
    """An SVG of matplotlib's draws letters as paths, and names each text in a comment."""
    return path.read_text()


def test_the_pick_the_ends_and_the_budget_are_named(found: MixedSearch, tmp_path: Path) -> None:
    path = tmp_path / "pareto.svg"
    draw(found, pick(found.front, 0.3), path)
    drawn = texts(path)
    for text in ("2 convolutions in FP32", "-0.25 points, 16.0 ms", "budget 0.3", "FP32, 43.0 ms"):
        assert text in drawn
    assert "-0.42 points, 14.2 ms" in drawn
    assert "ms per frame" in drawn


def test_a_modelled_cost_is_never_called_milliseconds(found: MixedSearch, tmp_path: Path) -> None:
    path = tmp_path / "pareto.svg"
    draw(dataclasses.replace(found, unit=SHARE, flavour="s8"), None, path, "ASPP")
    drawn = texts(path)
    assert "a model, not a time" in drawn
    assert "ASPP, 50 held-out frames" in drawn
    assert "16.0 ms" not in drawn
    assert "per frame" not in drawn


def test_a_picture_is_written(found: MixedSearch, tmp_path: Path) -> None:
    path = tmp_path / "pareto.png"
    draw(found, found.int8, path)
    assert path.read_bytes().startswith(b"\x89PNG")
