"""How far a build is, and what an exception in the library's callbacks does."""

from __future__ import annotations

import signal
import sys
import threading
from types import ModuleType
from typing import Any

import pytest

from engines.failures import Refused
from export.half import to_half
from export.plans import builder
from export.plans.builder import build_plan
from export.plans.library import load_library
from export.plans.log import new_log
from export.plans.progress import Phases
from export.plans.settings import BuildSettings
from tests.export.fake_tensorrt import FakeTensorRt
from tests.export.miniature import miniature


def test_the_share_grows_from_nothing_to_all() -> None:
    phases = Phases()
    shares = [phases.share]
    phases.start("build", None, 2)
    for step in range(2):
        phases.start("time", "build", 4)
        for part in range(4):
            phases.step("time", part)
            shares.append(phases.share)
        phases.finish("time")
        phases.step("build", step)
        shares.append(phases.share)
    assert shares == sorted(shares)
    assert shares[0] == 0
    assert shares[1] == pytest.approx(1 / 8)
    assert shares[4] == shares[5] == pytest.approx(1 / 2)
    assert shares[-1] == 1


def test_a_phase_of_an_unknown_parent_or_without_steps_does_no_harm() -> None:
    phases = Phases()
    phases.start("build", "never told", 0)
    phases.step("nobody", 3)
    phases.step("build", 0)
    phases.finish("build")
    phases.finish("build")
    assert phases.share == 0


@pytest.fixture
def bar(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """tqdm's bar, recorded."""
    shown: list[str] = []

    class Bar:
        n = 0.0

        def __init__(self, **_: Any) -> None:
            pass

        def __enter__(self) -> Any:
            return self

        def __exit__(self, *error: object) -> None:
            pass

        def set_description_str(self, text: str, refresh: bool) -> None:
            shown.append(text)

        def update(self, by: float) -> None:
            Bar.n += by
            if "stop" in shown:
                raise KeyboardInterrupt

    monkeypatch.setattr("tqdm.tqdm", Bar)
    shown.append("")
    return shown


def test_phases_are_shown_by_name(bar: list[str]) -> None:
    trt: Any = FakeTensorRt("11.1.0")
    assert build_plan(trt, b"graph", BuildSettings("fp16")).data == b"a plan"
    assert bar == ["", "Building engine", "Timing tactics", "Timing tactics"]


def test_ctrl_c_stops_the_build_and_comes_out_after_it(bar: list[str]) -> None:
    bar.append("stop")
    trt: Any = FakeTensorRt()
    with pytest.raises(KeyboardInterrupt):
        build_plan(trt, b"graph", BuildSettings("fp16"))
    assert bar.count("Timing tactics") == 1


def interrupting_log(trt: ModuleType, number: int = signal.SIGINT) -> Any:
    """The builder's log, during whose first line a signal comes, such as Ctrl-C."""
    log = new_log(trt)
    kept, pressed = type(log).log, list[bool]()

    def write(self: Any, level: Any, message: str) -> None:
        if not pressed:
            pressed.append(True)
            signal.raise_signal(number)
        kept(self, level, message)

    type(log).log = write
    return log


@pytest.mark.tensorrt
def test_ctrl_c_in_a_line_of_the_real_log_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library drops what a logger raises, and its log has thousands of lines."""
    monkeypatch.setattr(builder, "new_log", interrupting_log)
    graph = to_half(miniature()).SerializeToString()
    with pytest.raises(KeyboardInterrupt):
        build_plan(load_library("tensorrt-rtx"), graph, BuildSettings("fp16"))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_ends_a_build_before_its_end(
    bar: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builder, "new_log", interrupting_log)
    trt: Any = FakeTensorRt()
    with pytest.raises(KeyboardInterrupt):
        build_plan(trt, b"graph", BuildSettings("fp16"))
    assert bar.count("Timing tactics") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_program_that_handles_signals_itself_is_told(
    bar: list[str], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    told: list[int] = []
    monkeypatch.setattr(builder, "new_log", lambda trt: interrupting_log(trt, number))
    before = signal.signal(number, lambda number, _frame: told.append(number))
    try:
        trt: Any = FakeTensorRt()
        with pytest.raises(Refused, match="could not build"):
            build_plan(trt, b"graph", BuildSettings("fp16"))
    finally:
        signal.signal(number, before)
    assert told == [number]


def test_another_thread_builds_without_signals() -> None:
    plans: list[bytes] = []
    trt: Any = FakeTensorRt()
    thread = threading.Thread(
        target=lambda: plans.append(build_plan(trt, b"graph", BuildSettings("fp16"), True).data)
    )
    thread.start()
    thread.join()
    assert plans == [b"a plan"]


def test_phases_may_be_told_by_several_threads(bar: list[str]) -> None:
    """NVIDIA's reference asks for it: "it can be called from multiple internal threads"."""

    def tell(monitor: Any, name: str) -> None:
        for index in range(3000):
            phase = f"{name}{index}"
            monitor.phase_start(phase, None, 2)
            monitor.step_complete(phase, 0)
            monitor.phase_finish(phase)

    class Threads:
        def create_network(self, flags: int) -> Any:
            return fake.create_network(flags)

        def create_builder_config(self) -> Any:
            return fake.create_builder_config()

        def build_serialized_network(self, network: Any, config: Any) -> bytes:
            calls = [
                threading.Thread(target=tell, args=(config.progress_monitor, name))
                for name in "abcd"
            ]
            for call in calls:
                call.start()
            for call in calls:
                call.join()
            return b"a plan"

    trt: Any = FakeTensorRt()
    fake = trt.Builder(new_log(trt))
    trt.Builder = lambda log: Threads()
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        assert build_plan(trt, b"graph", BuildSettings("fp16")).data == b"a plan"
    finally:
        sys.setswitchinterval(before)
