"""Silence is counted in two halves, and not while nothing could be heard."""

from __future__ import annotations

import pytest

from runtime.patience import Patience


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_silence_is_too_long_after_its_seconds() -> None:
    clock = Clock()
    patience = Patience(10, clock)
    assert patience.ask(True) == 5
    clock.now += 4
    assert patience.ask(True) == 1
    clock.now += 1
    assert patience.ask(True) == 5
    clock.now += 5
    with pytest.raises(TimeoutError):
        patience.ask(True)


def test_a_suspension_of_any_length_is_half_of_it_at_most() -> None:
    clock = Clock()
    patience = Patience(10, clock)
    patience.ask(True)
    clock.now += 3600
    assert patience.ask(True) == 5


def test_what_was_heard_starts_anew() -> None:
    clock = Clock()
    patience = Patience(10, clock)
    for _ in range(5):
        patience.ask(True)
        clock.now += 6
        assert patience.ask(True) == 5
        patience.rest()


def test_who_is_known_to_be_away_may_be_silent() -> None:
    clock = Clock()
    patience = Patience(10, clock)
    for expected in (True, False, True, False):
        patience.ask(expected)
        clock.now += 5
    assert patience.ask(True) == 5
    clock.now += 5
    with pytest.raises(TimeoutError):
        patience.ask(True)
