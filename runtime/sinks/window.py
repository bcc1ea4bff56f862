"""A window on the desktop, where there is one."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from contextlib import suppress

from runtime.lane import Result
from runtime.sinks.silence import Silence
from runtime.source import Image

QUIT = frozenset({ord("q"), 27})  # q, Esc

# In a process of its own, because without a usable display Qt does not raise: it aborts.
PROBE = "import cv2; cv2.namedWindow('probe'); cv2.destroyAllWindows()"


def load_opencv() -> None:
    """To be called before PyAV is imported, which brings a libxcb of its own: a Qt that finds that
    one spins for ever in its first window (PyAV issue 978, opencv issue 29195)."""
    # The wheel's Qt misses fonts that it does not need, and says so in ten lines.
    os.environ.setdefault("QT_LOGGING_RULES", "*.warning=false")
    if _has_display():
        with suppress(ImportError):  # `why_no_window` tells
            importlib.import_module("cv2")


def why_no_window() -> str | None:
    """Why no window can be shown here, as the start of a sentence; None if one can."""
    if not _has_display():
        return "no display"
    try:
        probe = subprocess.run(
            [sys.executable, "-c", PROBE], capture_output=True, text=True, timeout=30, check=False
        )
    except subprocess.TimeoutExpired:
        return f"no window: the display {os.environ.get('DISPLAY', '')} does not answer"
    if probe.returncode == 0:
        return None
    if "ModuleNotFoundError" in probe.stderr:
        return "no window: OpenCV is missing (pip install opencv-python)"
    if "not implemented" in probe.stderr:
        return "no window: this OpenCV is built without one (pip install opencv-python)"
    return f"no window: the display {os.environ.get('DISPLAY', '')} cannot be used"


def _has_display() -> bool:
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


class Window:
    """Shows pictures; to be used from the main thread."""

    name = "window"

    def __init__(self, title: str) -> None:
        load_opencv()
        import cv2

        self._cv2 = cv2
        self._title = title
        cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
        self._sized = False
        self._silence = Silence()
        self._picture: Image | None = None

    def put(self, result: Result) -> bool:
        """Show the picture of a result that has one; False once the user closed the window."""
        if result.picture is None:
            return True
        self._silence.end()
        self._picture = result.picture
        return self.show(result.picture)

    def idle(self) -> bool:
        """To be called while no result comes: as `answers`, and an old picture is shown as one."""
        if self._picture is not None and self._silence.begins():
            return self.show(self._silence.faded(self._picture))
        return self.answers()

    def show(self, picture: Image) -> bool:
        """Show a picture [H, W, 3] RGB; False once the user pressed q or Esc or closed it."""
        cv2 = self._cv2
        if not self._sized:
            cv2.resizeWindow(self._title, picture.shape[1], picture.shape[0])
            self._sized = True
        cv2.imshow(self._title, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        return self.answers()

    def answers(self) -> bool:
        """Let the window do what the user wants of it; False once that is to be closed."""
        cv2 = self._cv2
        if cv2.waitKey(1) & 0xFF in QUIT:
            return False
        # Before its first picture it need not be visible.
        return not self._sized or cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) >= 1

    def close(self) -> None:
        """Close the window."""
        self._cv2.destroyAllWindows()

    def __enter__(self) -> Window:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
