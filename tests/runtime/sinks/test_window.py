"""A window where there is a display, one clear line where there is none."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from runtime.lane import Result
from runtime.sinks.silence import Silence
from runtime.sinks.window import Window, why_no_window


class FakeScreen:
    """OpenCV's window functions, remembering what was shown."""

    WINDOW_NORMAL, WINDOW_KEEPRATIO, WND_PROP_VISIBLE, COLOR_RGB2BGR = 0, 0, 4, 4

    def __init__(self) -> None:
        self.key = -1
        self.visible = 1.0
        self.shown: list[np.ndarray] = []
        self.size: tuple[int, int] | None = None
        self.destroyed = False

    def namedWindow(self, _title: str, _flags: int) -> None: ...  # noqa: N802

    def resizeWindow(self, _title: str, width: int, height: int) -> None:  # noqa: N802
        self.size = (width, height)

    def cvtColor(self, picture: np.ndarray, _code: int) -> np.ndarray:  # noqa: N802
        return picture[..., ::-1]

    def imshow(self, _title: str, picture: np.ndarray) -> None:
        self.shown.append(picture)

    def waitKey(self, _ms: int) -> int:  # noqa: N802
        return self.key

    def getWindowProperty(self, _title: str, _which: int) -> float:  # noqa: N802
        return self.visible

    def destroyAllWindows(self) -> None:  # noqa: N802
        self.destroyed = True


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> FakeScreen:
    fake = FakeScreen()
    monkeypatch.setitem(sys.modules, "cv2", fake)
    return fake


def test_a_picture_is_shown_in_its_colours_and_size(screen: FakeScreen) -> None:
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[..., 0] = 200  # red
    with Window("title") as window:
        assert window.show(picture)
    assert screen.size == (64, 48)
    assert screen.shown[0][0, 0].tolist() == [0, 0, 200]  # OpenCV shows BGR
    assert screen.destroyed


@pytest.mark.parametrize(
    ("key", "visible", "goes_on"),
    [
        (-1, 1.0, True),
        (ord("x"), 1.0, True),
        (ord("q"), 1.0, False),
        (27, 1.0, False),
        (-1, 0.0, False),
        (-1, -1.0, False),
    ],
)
def test_q_esc_and_the_close_button_quit(
    screen: FakeScreen, key: int, visible: float, goes_on: bool
) -> None:
    screen.key, screen.visible = key, visible
    with Window("title") as window:
        assert window.show(np.zeros((48, 64, 3), np.uint8)) == goes_on


def test_results_are_shown_and_those_without_a_picture_are_not(
    screen: FakeScreen, make_result: Callable[..., Result]
) -> None:
    with Window("title") as window:
        assert window.put(make_result(1))
        assert window.put(replace(make_result(2), picture=None))
        screen.key = ord("q")
        assert not window.put(make_result(3))
    assert len(screen.shown) == 2


def test_an_old_picture_is_shown_as_one(
    screen: FakeScreen, make_result: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Window("title") as window:
        screen.visible = 0.0  # as some are before their first picture
        assert window.idle()
        screen.visible = 1.0
        window.put(make_result(10, size=(96, 128)))
        assert window.idle()
        assert len(screen.shown) == 1
        monkeypatch.setattr("runtime.sinks.silence.STALL", 0.0)
        assert window.idle()
        assert window.idle()
        assert len(screen.shown) == 2  # once is enough
        assert (screen.shown[1][48:] == screen.shown[0][48:] // 3).all()
        screen.key = ord("q")
        assert not window.idle()


def test_a_slow_stream_is_not_old_between_two_pictures() -> None:
    now = [0.0]
    silence = Silence(lambda: now[0])
    assert not silence.begins()
    for now[0] in (0.0, 4.0, 8.0):
        silence.end()
    for now[0] in (10.0, 19.9):
        assert not silence.begins()
    now[0] = 20.1
    assert silence.begins()
    assert not silence.begins()
    now[0] = 1000.0
    silence.end()  # found again: the loss was no period
    now[0] = 1012.1
    assert silence.begins()


def test_no_display(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert why_no_window() == "no display"


@pytest.mark.parametrize(
    ("stderr", "code", "reason"),
    [
        ("", 0, None),
        ("ModuleNotFoundError: No module named 'cv2'", 1, "OpenCV is missing"),
        ("cv2.error: The function is not implemented. Rebuild", 1, "built without one"),
        ("qt.qpa.xcb: could not connect to display", -6, "the display :7 cannot be used"),
    ],
)
def test_why_a_display_shows_no_window(
    monkeypatch: pytest.MonkeyPatch, stderr: str, code: int, reason: str | None
) -> None:
    monkeypatch.setenv("DISPLAY", ":7")
    answer = SimpleNamespace(returncode=code, stderr=stderr)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: answer)
    found = why_no_window()
    assert found is None if reason is None else reason in str(found)


def test_a_display_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*_: object, **__: object) -> None:
        raise subprocess.TimeoutExpired("python", 30)

    monkeypatch.setenv("DISPLAY", ":7")
    monkeypatch.setattr(subprocess, "run", hang)
    assert why_no_window() == "no window: the display :7 does not answer"


@pytest.fixture
def real_display(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A virtual X server, where one is installed."""
    if shutil.which("Xvfb") is None:
        pytest.skip("Xvfb is not installed: apt-get install xvfb")
    pytest.importorskip("cv2", reason="the [window] extra is not installed")
    reader, writer = os.pipe()
    command = ["Xvfb", "-displayfd", str(writer), "-noreset", "-screen", "0", "640x480x24"]
    with (
        os.fdopen(reader) as number,
        subprocess.Popen(command, pass_fds=[writer], stderr=subprocess.DEVNULL) as server,
    ):
        os.close(writer)
        monkeypatch.setenv("DISPLAY", ":" + number.readline().strip())
        yield
        server.terminate()


SHOW_ONE = """
import numpy as np
from runtime.sinks.window import Window, why_no_window
assert why_no_window() is None, why_no_window()
with Window("test") as window:
    for level in range(0, 250, 50):
        assert window.answers()
        assert window.show(np.full((48, 64, 3), level, np.uint8))
"""


@pytest.mark.usefixtures("real_display")
def test_a_real_window_opens() -> None:
    # In a process of its own: Qt may be set up once per process, and it aborts rather than raises.
    done = subprocess.run(
        [sys.executable, "-c", SHOW_ONE], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stderr, done.returncode) == ("", 0)


@pytest.mark.usefixtures("real_display")
@pytest.mark.parametrize("cameras", [1, 2])
def test_a_stream_has_a_real_window(tiny_bundle: Path, cameras: int) -> None:
    """Beside PyAV, with which an OpenCV that is imported later hangs."""
    stream = str(Path(__file__).parents[3] / "runtime" / "stream.py")
    words = [sys.executable, stream, "--bundle", str(tiny_bundle), "--frames", "4"]
    words += ["--camera", "street:?size=160x120&fps=5"] * cameras
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stderr, done.returncode) == ("", 0)
    assert "running headless" not in done.stdout
