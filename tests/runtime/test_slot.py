"""The hand-over between two threads: order, loss, waiting, waking."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from runtime.slot import Ended, Slot

GUARD = 10  # seconds after which a hang becomes a failure


def in_thread(body: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=body, daemon=True)
    thread.start()
    return thread


def test_newest_replaces_and_counts_exactly() -> None:
    slot: Slot[int] = Slot(newest=True)
    for item in range(5):
        slot.put(item)
    assert slot.take() == 4
    assert slot.dropped == 4
    slot.put(5)
    assert slot.take() == 5
    assert slot.dropped == 4


def test_newest_loses_only_what_it_counts() -> None:
    slot: Slot[int] = Slot(newest=True)

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
    slot: Slot[str] = Slot(newest=True)
    slot.put("unwanted")
    slot.close()
    with pytest.raises(Ended):
        slot.take()
    assert slot.dropped == 0


@pytest.mark.parametrize("finish", ["end", "close"])
@pytest.mark.parametrize("call", ["take", "put", "wait_for_room"])
def test_a_waiting_thread_wakes(call: str, finish: str) -> None:
    slot: Slot[int] = Slot()
    if call != "take":
        slot.put(0)
    raised = []

    def wait() -> None:
        try:
            slot.put(1) if call == "put" else getattr(slot, call)()
        except Ended:
            raised.append(call)

    thread = in_thread(wait)
    getattr(slot, finish)()
    thread.join(GUARD)
    assert raised == [call]


def test_wait_for_room_returns_when_the_item_is_taken() -> None:
    slot: Slot[int] = Slot()
    slot.put(0)
    seen: list[str] = []

    def produce() -> None:
        slot.wait_for_room()
        seen.append("room")

    thread = in_thread(produce)
    assert not seen
    slot.take()
    thread.join(GUARD)
    assert seen == ["room"]


def test_take_gives_up_after_its_timeout() -> None:
    with pytest.raises(TimeoutError):
        Slot[int]().take(timeout=0.01)
