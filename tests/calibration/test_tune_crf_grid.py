"""The grid of CRF settings: even coverage, small steps, one setting for what is one CRF."""

from __future__ import annotations

from collections import Counter
from dataclasses import astuple, replace

import numpy as np

from calibration.crf_tuning.grid import AXES, STOCK, draws, ladder, neighbours, text
from crf.dense_crf import MILD
from engines.spec import CrfParams

ON_GRID = CrfParams(2, 40, 8, 1, 2, 2, 1)


def test_a_ladder_doubles_after_so_many_rungs() -> None:
    assert ladder(1, 4, rungs=2) == (1.0, 1.4, 2.0, 2.8, 4.0)
    assert ladder(1, 4, rungs=1) == (1.0, 2.0, 4.0)


def test_draws_follow_from_the_seed_and_use_every_value_equally_often() -> None:
    first = draws(30, seed=1)
    assert first == draws(30, seed=1)
    assert first != draws(30, seed=2)
    counts = Counter(params.w1 for params in first if params)
    assert set(counts) == set(AXES["w1"])
    assert max(counts.values()) - min(counts.values()) <= 1


def test_draws_without_smoothness_share_one_width() -> None:
    flat = [params for params in draws(200, seed=0) if params and params.w2 == 0]
    assert flat
    assert {params.sigma_gamma for params in flat} == {AXES["sigma_gamma"][0]}


def test_neighbours_differ_in_one_parameter_by_so_many_rungs() -> None:
    for step in (1, 2):
        found = neighbours(ON_GRID, step)
        assert len(found) == len(set(found)) == 2 * len(AXES)
        for near in found:
            assert near is not None
            pairs = zip(AXES, astuple(ON_GRID), astuple(near), strict=True)
            ((name, here, there),) = [pair for pair in pairs if pair[1] != pair[2]]
            rungs = abs(AXES[name].index(here) - AXES[name].index(there))
            assert rungs == step or there in (AXES[name][0], AXES[name][-1])


def test_neighbours_at_the_end_of_a_ladder_stay_on_it() -> None:
    corner = replace(ON_GRID, w1=AXES["w1"][-1], iterations=1)
    for near in neighbours(corner, 1):
        assert near is not None
        assert near.w1 <= AXES["w1"][-1]
        assert near.iterations in AXES["iterations"]


def test_without_smoothness_its_width_has_no_neighbours() -> None:
    flat = replace(ON_GRID, w2=0.0, sigma_gamma=AXES["sigma_gamma"][0])
    changed = [near.sigma_gamma for near in neighbours(flat, 1) if near and near.w2 == 0]
    assert set(changed) == {flat.sigma_gamma}


def test_published_settings_off_the_grid_have_neighbours_on_it() -> None:
    for params in STOCK.values():
        for near in neighbours(params, 1):
            assert near is not None
            moved = [
                value
                for name, value, old in zip(AXES, astuple(near), astuple(params), strict=True)
                if value != old and name != "sigma_gamma"
            ]
            assert all(any(value in values for values in AXES.values()) for value in moved)
            assert np.isfinite(astuple(near)).all()


def test_settings_read_as_in_the_documents() -> None:
    assert text(MILD) == "2, 40, 5 | 1, 1 | 2 it, T 1"
    assert text(replace(MILD, w2=0)) == "2, 40, 5 | 0, - | 2 it, T 1"
    assert text(None) == "off"
