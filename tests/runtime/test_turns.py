"""Fair turns: nobody starves, nobody is served twice in a round."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from runtime.turns import Turns

COUNT = 5
ROUNDS = st.lists(st.sets(st.integers(0, COUNT - 1)), max_size=40)


@given(ROUNDS, st.integers(1, COUNT))
def test_a_round_serves_as_many_as_it_can_once_each(rounds: list[set[int]], most: int) -> None:
    turns = Turns(COUNT)
    for ready in rounds:
        chosen = turns.choose(ready.__contains__, most)
        assert len(chosen) == len(set(chosen)) == min(most, len(ready))
        assert set(chosen) <= ready


@given(ROUNDS, st.integers(1, COUNT), st.integers(0, COUNT - 1))
def test_who_stays_ready_is_served_after_the_others_at_most(
    rounds: list[set[int]], most: int, lane: int
) -> None:
    turns, left_over = Turns(COUNT), 0
    for ready in rounds:
        served = lane in turns.choose((ready | {lane}).__contains__, most)
        left_over = 0 if served else left_over + 1
        assert left_over <= (COUNT - 1) // most


def test_all_ready_take_turns() -> None:
    turns = Turns(3)
    assert [turns.choose(lambda _: True, 2) for _ in range(4)] == [[0, 1], [2, 0], [1, 2], [0, 1]]
