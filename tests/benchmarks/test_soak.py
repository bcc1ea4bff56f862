"""The endurance run finds what it is there for, and reads the numbers in its pictures."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.soak_camera import PICTURES, marked, number_of
from benchmarks.soak_minutes import by_minute
from benchmarks.soak_plot import draw
from benchmarks.soak_program import Holdings
from benchmarks.soak_verdict import Look, Sample, freshness, growth, judge, slope_per_minute
from engines.blend import blend
from runtime.serving.channel import jpeg

SECONDS = 300
WELL = Look(live=True, age=0.2, limit=0.3, frames=0, reconnects=0, dropped=0)


def sample(at: int) -> Sample:
    """A well-behaved moment: memory rises and falls, a recording has two files and a thread."""
    recording = bool(at // 30 % 2)
    reconnecting = at % 10 == 0
    holdings = Holdings(
        400 + 5 * np.sin(at) + 20 * recording,
        0 if reconnecting else 80,
        18 + 2 * recording - 3 * reconnecting,
        15 + recording,
        2,
    )
    look = replace(WELL, live=not reconnecting, age=2.0 if reconnecting else 0.2)
    return Sample(float(at), recording, holdings, (look, WELL), 1.0)


@pytest.fixture
def samples() -> list[Sample]:
    return [sample(at) for at in range(SECONDS)]


def broken(samples: list[Sample]) -> list[str]:
    return [c.name for c in judge(samples, freshness(samples, [0.1])) if not c.passed]


def test_numbers_survive_the_mask_and_two_rounds_of_jpeg() -> None:
    random = np.random.default_rng(0)
    frame = random.integers(0, 256, (48, 128, 3), np.uint8)
    palette = tuple((int(r), int(g), int(b)) for r, g, b in random.integers(0, 256, (11, 3)))
    labels = random.integers(0, 11, (48, 128)).astype(np.uint8)
    for number in range(PICTURES):
        received = np.asarray(Image.open(io.BytesIO(marked(frame, number))))
        assert number_of(jpeg(blend(received, labels, palette, 0.3))) == number


def test_a_well_behaved_program_passes(samples: list[Sample]) -> None:
    assert broken(samples) == []


def test_a_leak_is_found_under_the_ups_and_downs(samples: list[Sample]) -> None:
    leaking = [
        replace(s, holdings=replace(s.holdings, main_mb=s.holdings.main_mb + s.at / 60 * 1.5))
        for s in samples
    ]
    assert broken(leaking) == ["memory growth, MB/min"]


@pytest.mark.parametrize(
    ("what", "name"), [("files", "open files, growth"), ("threads", "threads, growth")]
)
def test_one_more_for_good_is_found(samples: list[Sample], what: str, name: str) -> None:
    def more(s: Sample) -> Sample:
        return replace(
            s, holdings=replace(s.holdings, **{what: getattr(s.holdings, what) + (s.at > 150)})
        )

    assert broken([more(s) for s in samples]) == [name]


@pytest.mark.parametrize(
    ("age", "older", "noticed"), [(0.25, 0, 0), (0.4, 1, 0), (0.6, 1, 1)], ids=str
)
def test_an_old_picture_that_passes_for_live_is_found(
    samples: list[Sample], age: float, older: int, noticed: int
) -> None:
    samples[200] = replace(samples[200], looks=(WELL, replace(WELL, age=age)))
    fresh = freshness(samples, [0.1])
    assert (fresh.older, fresh.noticed) == (older, noticed)
    assert bool(broken(samples)) == bool(noticed)


def test_slope_and_growth_of_known_series(samples: list[Sample]) -> None:
    values = [x / 60 for x in range(600)]
    values[300] = values[599] = 1000.0
    assert slope_per_minute(range(600), values) == pytest.approx(1.0)
    assert growth(samples, lambda s: s.holdings.files) == 0


def test_it_is_told_by_minute_and_drawn(samples: list[Sample], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    rows = by_minute(samples)
    assert [row.minute for row in rows] == list(range(5))
    assert rows[0].live == pytest.approx(0.95)
    draw(samples, 60.0, tmp_path / "soak.png")
    with Image.open(tmp_path / "soak.png") as picture:
        assert picture.size == (800, 900)
