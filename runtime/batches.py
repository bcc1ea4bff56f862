"""How the inference thread runs the frames that several cameras have ready."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from engines.failures import Failure
from runtime.frame_path import FramePath

Work = tuple[FramePath[Any, Any], Any]  # a path, and what its `prepare` gave


class Batches(Protocol):
    """Runs a round of frames, at most one of each path."""

    @property
    def most_frames(self) -> int:
        """Of a round."""
        ...

    def infer(self, work: Sequence[Work]) -> list[Any]:
        """What each path's `infer` would give for its own frame, or the `Failure` that is its own.

        Any other exception is the engine's, and concerns all.
        """
        ...


class OneByOne:
    """Each frame is a run of its own, and a round.

    On a CPU nothing else pays. INT8, 480x360, two threads on two cores, ms a frame at batches of 1,
    2, 4 and 8: OpenVINO 25.5, 27.8, 27.5, 29.1; onnxruntime 72, 75, 81, 75 (a busy machine; the
    processor's own time 17.5 to 19.7 and 35.6 to 39.3). Eight frames at once would make each wait
    for seven others. So the graphs take one frame.
    """

    most_frames = 1

    def infer(self, work: Sequence[Work]) -> list[Any]:
        """One after the other."""
        return [_outcome(path, prepared) for path, prepared in work]


def _outcome(path: FramePath[Any, Any], prepared: Any) -> Any:
    try:
        return path.infer(prepared)
    except Failure as failure:
        return failure
