"""The hand-over between two threads: order, loss, waiting, waking."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.failures import UsageError
from runtime.drop_policy import ALL, NEWEST, DropPolicy, drop_policy
from runtime.slot import Ended, Slot

GUARD = 10  # seconds after which a hang becomes a failure


def in_thread(body: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=body, daemon=True)
    thread.start()
    return thread


def test_newest_replaces_and_counts_exactly() -> None:
    slot: Slot[int] = Slot(NEWEST)
    for item in range(5):
        slot.put(item)
    assert slot.take() == 4
    assert slot.dropped == 4
    slot.put(5)
    assert slot.take() == 5
    assert slot.dropped == 4


def test_newest_loses_only_what_it_counts() -> None:
    slot: Slot[int] = Slot(NEWEST)

    def produce() -> None:
        for item in range(1000):
            slot.put(item)
        slot.end()

    in_thread(produce)
    taken = []
    with pytest.raises(Ended):
        while True:
            taken.append(slot.take(GUARD))
    assert taken == sorted(set(taken))
    assert taken[-1] == 999
    assert len(taken) + slot.dropped == 1000


def test_bounded_keeps_everything_in_order_and_one_ahead() -> None:
    slot: Slot[int] = Slot()
    done: list[int] = []

    def produce() -> None:
        for item in range(500):
            slot.put(item)
            done.append(item)
        slot.end()

    in_thread(produce)
    for expected in range(500):
        assert slot.take(GUARD) == expected
        assert len(done) <= expected + 2  # this one, and one that waits in the slot
    with pytest.raises(Ended):
        slot.take(GUARD)
    assert slot.dropped == 0


def test_end_leaves_the_last_item() -> None:
    slot: Slot[str] = Slot()
    slot.put("last")
    slot.end()
    assert slot.take() == "last"
    with pytest.raises(Ended):
        slot.take()
    with pytest.raises(Ended):
        slot.put("late")


def test_close_discards_without_counting() -> None:
    slot: Slot[str] = Slot(NEWEST)
    slot.put("unwanted")
    slot.close()
    with pytest.raises(Ended):
        slot.take()
    assert slot.dropped == 0


@pytest.mark.parametrize("finish", ["end", "close"])
@pytest.mark.parametrize("call", ["take", "put"])
def test_a_waiting_thread_wakes(call: str, finish: str) -> None:
    slot: Slot[int] = Slot()
    if call != "take":
        slot.put(0)
    raised = []

    def wait() -> None:
        try:
            slot.put(1) if call == "put" else slot.take()
        except Ended:
            raised.append(call)

    thread = in_thread(wait)
    getattr(slot, finish)()
    thread.join(GUARD)
    assert raised == [call]


def test_somebody_else_hears_of_each_change_and_sees_the_state() -> None:
    slot: Slot[int] = Slot()
    seen: list[tuple[bool, bool, bool, bool]] = []
    slot.changed = lambda: seen.append((slot.filled, slot.room, slot.ended, slot.drained))
    slot.put(0)
    slot.take()
    slot.put(1)
    slot.end()
    slot.end()
    slot.take()
    slot.close()
    assert seen == [
        (True, False, False, False),
        (False, True, False, False),
        (True, False, False, False),
        (True, False, True, False),  # ended once
        (False, False, True, True),  # nothing is left to be closed
    ]


def test_take_gives_up_after_its_timeout() -> None:
    with pytest.raises(TimeoutError):
        Slot[int]().take(timeout=0.01)


# What is dropped


@given(
    st.lists(st.one_of(st.none(), st.floats(0, 0.3)), max_size=60),
    st.sampled_from([NEWEST, DropPolicy("budget", 0.2), DropPolicy("budget", 1e-3)]),
)
def test_items_put_are_taken_or_dropped_or_inside(
    steps: list[float | None], policy: DropPolicy
) -> None:
    """A step is None, the consumer takes, or seconds that pass before the producer puts."""
    now = 0.0
    slot: Slot[tuple[int, float]] = Slot(policy, lambda: now)
    taken: list[int] = []
    put = 0
    for step in steps:
        if step is not None:
            now += step
            slot.put((put, now))
            put += 1
            continue
        with contextlib.suppress(TimeoutError):
            number, since = slot.take(timeout=0)
            taken.append(number)
            assert now - since <= policy.seconds or number == put - 1
    slot.end()
    with contextlib.suppress(Ended):
        while True:
            taken.append(slot.take()[0])
    assert taken == sorted(set(taken))
    assert len(taken) + slot.dropped == put
    assert not put or taken[-1] == put - 1  # the newest is never given up


@pytest.mark.parametrize("policy", [ALL, NEWEST, DropPolicy("budget", 1e-4)])
def test_counts_are_exact_between_threads(policy: DropPolicy) -> None:
    slot: Slot[int] = Slot(policy)

    def produce() -> None:
        for item in range(2000):
            slot.put(item)
        slot.end()

    in_thread(produce)
    taken = []
    with pytest.raises(Ended):
        while True:
            taken.append(slot.take(GUARD))
    assert taken == sorted(set(taken))
    assert len(taken) + slot.dropped == 2000
    assert policy is not ALL or slot.dropped == 0


@pytest.mark.parametrize(
    ("text", "live", "policy"),
    [
        ("auto", True, NEWEST),
        ("auto", False, ALL),
        ("newest", False, NEWEST),
        ("all", True, ALL),
        ("budget=200", True, DropPolicy("budget", 0.2)),
    ],
)
def test_what_drop_names(text: str, live: bool, policy: DropPolicy) -> None:
    assert drop_policy(text, live=live) == policy
    assert drop_policy(str(policy), live=live) == policy


@pytest.mark.parametrize(
    "text",
    [
        "",
        "oldest",
        "budget",
        "budget=0",
        "budget=-1",
        "budget=x",
        "budget=nan",
        "budget=6000",
        "newest=3",
    ],
)
def test_other_policies_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="budget=200"):
        drop_policy(text, live=True)
