"""The shadow: which frames it compares, what it never delays, and when it warns."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engines.bundle import Bundle
from engines.labels import upsample_argmax
from engines.session import Session, open_session
from runtime.agreement import WINDOW, Agreement
from runtime.agreement_alarm import FACTOR, FLOOR, AgreementAlarm, agreement_limit
from runtime.shadow import Shadow, ShadowedSession, meeting_all, shadowed
from scenes.street import StreetCamera
from tests.runtime.damaged_bundle import with_int8

Images = list[NDArray[np.uint8]]
DAMAGED = "Fence"


@pytest.fixture(scope="module")
def damaged(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return Bundle.open(with_int8(tiny_bundle, tmp_path_factory.mktemp("damaged") / "b", DAMAGED))


@pytest.fixture(scope="module")
def street() -> Images:
    camera = StreetCamera((96, 128), seed=4)
    return [camera.scene(index).frame for index in range(0, 120, 10)]


def wait_for(shadow: Shadow, frames: int) -> None:
    """Until the reference has compared so many frames, and is free for another one."""
    done = threading.Event()
    for _ in range(3000):
        if shadow.agreement.count >= frames and not shadow.busy:
            return
        done.wait(0.01)
    pytest.fail(f"only {shadow.agreement.count} of {frames} frames were compared in 30 s")


class Recorded:
    """What a session in front of a shadow offered."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.frames: Images = []
        self.logits: list[NDArray[np.float32]] = []

    def __call__(self, number: int, frame: NDArray[Any], logits: NDArray[Any]) -> None:
        self.numbers.append(number)
        self.frames.append(frame)
        self.logits.append(logits)


def test_every_nth_frame_is_offered_with_its_logits(damaged: Bundle, street: Images) -> None:
    recorded = Recorded()
    with open_session(damaged, "int8", "cpu", 1) as session:
        shadowed = ShadowedSession(session, recorded, 5)
        for frame in street:
            np.testing.assert_array_equal(shadowed.run(frame[None]), session.run(frame[None]))
        assert recorded.numbers == [0, 5, 10]
        for number, frame, logits in zip(
            recorded.numbers, recorded.frames, recorded.logits, strict=True
        ):
            np.testing.assert_array_equal(frame, street[number])
            np.testing.assert_array_equal(logits, session.run(frame[None])[0])
        assert (shadowed.precision, shadowed.target) == ("int8", "cpu")


def test_all_cameras_of_a_batch_have_their_turn(session: Session) -> None:
    recorded = Recorded()
    shadowed = ShadowedSession(session, recorded, 4)
    for _ in range(8):
        shadowed.run(np.zeros((2, 48, 64, 3), np.uint8))  # two cameras
    assert recorded.numbers == [0, 5, 8, 13]
    assert {number % 2 for number in recorded.numbers} == {0, 1}


def test_the_count_is_that_of_both_engines_one_after_the_other(
    damaged: Bundle, street: Images
) -> None:
    slow = Agreement(damaged.spec.classes)
    size = damaged.spec.input_size
    with (
        open_session(damaged, "int8", "cpu", 1) as session,
        open_session(damaged, "fp32", "cpu", 1) as reference,
    ):
        with Shadow(reference, "int8 on cpu") as shadow:
            shadowed = ShadowedSession(session, shadow.offer, 1)
            for number, frame in enumerate(street):
                labels = upsample_argmax(shadowed.run(frame[None])[0], size)
                wait_for(shadow, number + 1)
                expected = upsample_argmax(reference.run(frame[None])[0], size)
                slow.add(labels, expected, number, 0.0)
        found = shadow.to_json()
    expected_json = slow.to_json()
    assert found["worst_frame"]["index"] == expected_json["worst_frame"]["index"]
    for part in ("agreement", "per_class", "worst_class"):
        assert found[part] == expected_json[part]
    assert (found["frames"], found["skipped"], found["failure"]) == (len(street), 0, None)
    assert (found["a"], found["b"]) == ("int8 on cpu", "fp32 on cpu")


def test_a_damaged_class_is_named(damaged: Bundle, street: Images) -> None:
    with (
        open_session(damaged, "int8", "cpu", 1) as session,
        open_session(damaged, "fp32", "cpu", 1) as reference,
        Shadow(reference, "int8 on cpu") as shadow,
    ):
        shadowed = ShadowedSession(session, shadow.offer, 1)
        for number, frame in enumerate(street[:4]):
            shadowed.run(frame[None])
            wait_for(shadow, number + 1)
        assert shadow.agreement.mean < 0.85  # 0.95 without the damage
        assert shadow.agreement.worst_class() == DAMAGED


class HeldSession:
    """A reference that computes when it is let, and fails when it is told to."""

    def __init__(self, session: Session) -> None:
        self.let = threading.Semaphore(0)
        self.begun = threading.Semaphore(0)
        self.failing = False
        self._session = session

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def run(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.begun.release()
        self.let.acquire()
        if self.failing:
            raise RuntimeError("the processor caught fire")
        return self._session.run(frames)


@pytest.fixture
def held(session: Session) -> Iterator[HeldSession]:
    result = HeldSession(session)
    yield result
    result.let.release(100)


FRAME, LOGITS = np.zeros((48, 64, 3), np.uint8), np.zeros((3, 12, 16), np.float32)


def test_a_busy_reference_delays_nobody_and_skips_are_counted(held: HeldSession) -> None:
    with Shadow(held, "x") as shadow:
        shadow.offer(0, FRAME, LOGITS)
        held.begun.acquire()
        for number in range(1, 8):
            shadow.offer(number, FRAME, LOGITS)  # would hang here if it waited
        assert shadow.skipped == 7
        held.let.release()
        wait_for(shadow, 1)
    assert shadow.to_json()["worst_frame"]["index"] == 0


def test_what_is_offered_may_change_afterwards(held: HeldSession) -> None:
    frame, logits = FRAME.copy(), LOGITS.copy()
    logits[0] = 1  # dark, as a black frame is
    with Shadow(held, "x") as shadow:
        shadow.offer(0, frame, logits)
        frame[:], logits[2] = 255, 9  # an engine's and a source's memory, used again
        held.let.release()
        wait_for(shadow, 1)
    assert shadow.agreement.mean == 1


def test_a_reference_that_fails_ends_the_comparison_alone(
    held: HeldSession, caplog: pytest.LogCaptureFixture
) -> None:
    held.failing = True
    told = threading.Event()
    handler = Told(told)
    logging.getLogger("deeplab").addHandler(handler)
    try:
        with Shadow(held, "x") as shadow:
            shadow.offer(0, FRAME, LOGITS)
            held.let.release()
            assert told.wait(30)
            shadow.offer(1, FRAME, LOGITS)
    finally:
        logging.getLogger("deeplab").removeHandler(handler)
    assert shadow.failure == "the processor caught fire"
    assert [record.getMessage() for record in caplog.records] == ["shadow ended"]
    assert shadow.to_json()["agreement"] is None


class Told(logging.Handler):
    """Notes that something was logged."""

    def __init__(self, event: threading.Event) -> None:
        super().__init__()
        self._event = event

    def emit(self, record: logging.LogRecord) -> None:
        self._event.set()


def agreeing(share: float, frames: int, agreement: Agreement, alarm: AgreementAlarm) -> None:
    """So many frames of which this share agrees."""
    first = np.zeros((10, 100), np.uint8)
    second = first.copy()
    second.ravel()[: round(1000 * (1 - share))] = 1
    for index in range(frames):
        agreement.add(first, second, index, index / 25)
        alarm.update(agreement)


def test_it_warns_once_when_the_last_frames_agree_too_little(
    caplog: pytest.LogCaptureFixture,
) -> None:
    agreement, alarm = Agreement(("road", "tree")), AgreementAlarm(0.95)
    caplog.set_level(logging.WARNING, "deeplab")
    agreeing(0.5, WINDOW - 1, Agreement(("road", "tree")), alarm)
    assert not alarm.raised  # too few frames to say
    agreeing(0.96, 2 * WINDOW, agreement, alarm)
    assert (alarm.times, caplog.records) == (0, [])
    agreeing(0.7, 3 * WINDOW, agreement, alarm)
    assert (alarm.times, alarm.raised) == (1, True)
    (record,) = caplog.records
    facts: dict[str, Any] = record.facts  # type: ignore[attr-defined]
    assert facts["agree_percent"] < 95 == facts["limit_percent"]
    assert facts["most_in"] == "road"


def report(agreement: object, precision: str = "int8", target: str = "cpu") -> dict[str, Any]:
    row = {"precision": precision, "target": target, "shipped": True, "crf": None, "drop": 0.1}
    gate = {"max_drop": 1.0, "max_class_drop": {}}
    rows = [{**row, "p50_ms": 10.0, "class_drop": {}, "agreement": agreement}]
    return {"gate": gate, "rows": rows, "machine": {}}


class Reported:
    """A bundle with an accuracy report."""

    root = Path("artifacts/model")

    def __init__(self, text: dict[str, Any] | None) -> None:
        self._text = text

    def report(self) -> dict[str, Any] | None:
        return self._text


@pytest.mark.parametrize(
    ("found", "limit"),
    [
        (None, None),
        (report(99.0, target="openvino"), None),
        (report(99.0, precision="mixed"), None),
        (report(100.0), 1 - FLOOR),
        (report(99.0), 1 - FACTOR * 0.01 - FLOOR),
        (report(10.0), 0.0),
        (report("much"), None),
    ],
)
def test_the_limit_comes_from_the_accuracy_report(
    found: dict[str, Any] | None, limit: float | None
) -> None:
    bundle: Any = Reported(found)
    engine: Any = type("Engine", (), {"precision": "int8", "target": "cpu"})
    value, why = agreement_limit(bundle, engine)
    assert value == (None if limit is None else pytest.approx(limit))
    assert ("python calibration/report.py --bundle artifacts/model" in why) == (limit is None)


def test_a_bundle_with_a_report_has_a_watched_stream(
    tiny_bundle: Path, tmp_path: Path, street: Images, caplog: pytest.LogCaptureFixture
) -> None:
    bundle = Bundle.open(with_int8(tiny_bundle, tmp_path / "bundle", DAMAGED))
    bundle = bundle.add_report(report(99.0))
    caplog.set_level(logging.WARNING, "deeplab")
    with ExitStack() as stack:
        session = stack.enter_context(open_session(bundle, "int8", "cpu", 1))
        shadow, running, line = shadowed(stack, bundle, session, 1)
        assert "warns below 96.90 % (99.00 % in the accuracy report)" in line
        for number in range(WINDOW + 1):
            running.run(street[number % len(street)][None])
            wait_for(shadow, number + 1)
        assert shadow.to_json()["warnings"] == 1
    (record,) = caplog.records
    facts: dict[str, Any] = record.facts  # type: ignore[attr-defined]
    assert facts["most_in"] == DAMAGED


@pytest.mark.parametrize(("every", "cameras"), [(30, 1), (30, 2), (30, 8), (8, 8), (7, 3), (1, 5)])
def test_every_camera_has_its_turn(every: int, cameras: int) -> None:
    chosen = meeting_all(every, cameras)
    assert every <= chosen <= every + cameras
    assert {number * chosen % cameras for number in range(cameras)} == set(range(cameras))


def test_a_frame_that_is_on_the_reference_at_the_end_is_counted(held: HeldSession) -> None:
    shadow = Shadow(held, "x")
    shadow.offer(0, FRAME, LOGITS)
    held.begun.acquire()
    shadow.close()  # the reference never came back
    assert (shadow.agreement.count, shadow.skipped, shadow.failure) == (0, 1, None)
