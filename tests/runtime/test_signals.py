"""Ctrl-C and SIGTERM stop from outside the main thread, once; the second one does not wait."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from runtime.signals import stopping_on_signals

GUARD = 10  # seconds after which a hang becomes a failure


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_stops_and_the_second_interrupts(number: signal.Signals) -> None:
    stopped: list[str] = []
    called = threading.Event()

    def stop() -> None:
        stopped.append(threading.current_thread().name)
        called.set()

    before = signal.getsignal(number)
    with stopping_on_signals(stop):
        os.kill(os.getpid(), number)
        assert called.wait(GUARD)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
            called.wait(GUARD)  # the handler runs here at the latest
    assert stopped == ["signals"]
    assert signal.getsignal(number) == before


def test_without_a_signal_nothing_stops() -> None:
    stopped: list[bool] = []
    with stopping_on_signals(lambda: stopped.append(True)):
        pass
    assert stopped == []
    assert "signals" not in [thread.name for thread in threading.enumerate()]
