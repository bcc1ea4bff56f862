"""Live switches: never half a change, from any number of threads."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from engines.failures import DeviceMissing, Failure, UsageError
from runtime.switched_session import SwitchedSession
from runtime.switches import CRF_MODES, Settings, Switches

BEGIN = Settings(0.5, "off", "int8")


def test_a_change_is_applied_before_it_is_seen() -> None:
    applied: list[tuple[Settings, Settings]] = []
    switches = Switches(BEGIN, CRF_MODES, apply=lambda a, b: applied.append((a, b)))
    after = switches.change({"alpha": 1, "crf": "exact"})
    assert after == switches.now == Settings(1, "exact", "int8")
    assert applied == [(BEGIN, after)]
    switches.change({"alpha": 1})  # nothing new
    assert len(applied) == 1


def test_what_cannot_be_applied_is_not_changed() -> None:
    def refuse(before: Settings, after: Settings) -> None:
        raise DeviceMissing("no")

    switches = Switches(BEGIN, CRF_MODES, apply=refuse)
    with pytest.raises(DeviceMissing):
        switches.change({"crf": "fast"})
    assert switches.now == BEGIN


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"alfa": 1}, "did you mean alpha"),
        ({"alpha": float("nan")}, "from 0"),
        ({"alpha": -0.1}, "from 0"),
        ({"crf": "best"}, "off, fast, exact"),
        ({"crf": ["off"]}, "off, fast, exact"),
        ({"precision": "fp32"}, "int8"),
        ({"paused": "yes"}, "true or false"),
    ],
)
def test_wrong_values_name_the_right_ones(wanted: dict[str, Any], words: str) -> None:
    switches = Switches(BEGIN, CRF_MODES)
    with pytest.raises(UsageError, match=words):
        switches.change({"paused": True, **wanted})
    assert switches.now == BEGIN


def test_many_threads_lose_no_change() -> None:
    seen: list[Settings] = []
    switches = Switches(BEGIN, CRF_MODES, apply=lambda before, after: seen.append(before))

    def flip(name: str, values: tuple[Any, Any]) -> None:
        for index in range(200):
            switches.change({name: values[index % 2]})

    changes = [("alpha", (0.1, 0.9)), ("crf", ("fast", "exact")), ("paused", (True, False))]
    threads = [threading.Thread(target=flip, args=change) for change in changes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert switches.now == Settings(0.9, "exact", "int8", False)
    assert len(seen) == 600


class Precision:
    """A session that answers with its precision and must not be run once closed."""

    def __init__(self, session: Any, precision: str) -> None:
        self.spec, self.target = session.spec, session.target
        self.precision = precision
        self.description = f"{precision} on nothing"
        self.closed = False

    def run(self, frames: Any) -> Any:
        assert not self.closed
        return np.full((1, 3, 2, 2), len(self.precision), np.float32)

    def close(self) -> None:
        assert not self.closed
        self.closed = True


def test_a_session_is_exchanged_between_frames_and_the_old_one_closed(session: Any) -> None:
    opened: list[Precision] = []

    def opener(precision: str) -> Any:
        opened.append(Precision(session, precision))
        return opened[-1]

    first = Precision(session, "fp32")
    frames = np.zeros((1, 48, 64, 3), np.uint8)
    with SwitchedSession(first, opener) as switched:  # type: ignore[arg-type]
        assert isinstance(switched, SwitchedSession)
        switched.use("mixed").join()
        assert first.closed
        assert (switched.precision, switched.description) == ("mixed", "mixed on nothing")
        assert switched.run(frames).max() == 5
        switched.use("mixed").join()  # it runs already
        assert len(opened) == 1
    assert opened[0].closed


def test_the_last_wish_counts_and_a_late_one_is_dropped(session: Any) -> None:
    opening = threading.Event()

    def opener(precision: str) -> Any:
        opening.wait()
        return Precision(session, precision)

    switched = SwitchedSession(Precision(session, "fp32"), opener)  # type: ignore[arg-type]
    threads = [switched.use(precision) for precision in ("fp16", "mixed", "int8")]
    opening.set()
    for thread in threads:
        thread.join()
    assert switched.precision == "int8"
    switched.close()
    switched.use("fp16").join()
    assert switched.precision == "int8"


def test_a_precision_that_does_not_load_changes_nothing(session: Any) -> None:
    def opener(precision: str) -> Any:
        raise DeviceMissing("not here")

    errors: list[Failure] = []
    switched = SwitchedSession(Precision(session, "fp32"), opener)  # type: ignore[arg-type]
    switched.failed = errors.append
    switched.use("fp16").join()
    assert [str(error) for error in errors] == ["not here"]
    assert switched.precision == "fp32"
    switched.close()
