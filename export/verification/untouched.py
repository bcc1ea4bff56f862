"""The graphs and engines as they ship, without any tap: do they label alike, and always the same?

Against FP32's labels on every frame; two sessions of one file against each other (for TensorRT:
two runs of one plan); and, on the first frame, equal rows of one batch (NVIDIA/TensorRT#4813
is an engine whose rows differed).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from engines.bundle import Bundle
from engines.failures import Refused
from engines.labels import upsample_argmax
from engines.onnxruntime_session import load_graph
from engines.session import cpu_session, open_session
from export import dynamic
from export.verification.difference import Difference, Floats
from export.verification.graphs import Candidate

Frame = NDArray[np.uint8]


class Runner(Protocol):
    """What of a session is needed here."""

    def run(self, frames: Frame) -> NDArray[np.float32]: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class EngineRow:
    """One untouched graph or engine.

    `label_agreement` is the share of pixels with the reference's label; `repeat_max_abs` the
    largest difference of two sessions' logits, `rows_max_abs` of equal rows in one batch, None
    where only one frame fits; `note` says why.
    """

    precision: str
    target: str
    file: str
    label_agreement: float
    logits_db: float | None
    max_abs: float | None
    repeat_max_abs: float
    rows_max_abs: float | None
    finite: bool
    note: str | None


class Untouched:
    """Runs one file on every frame, and sums up.

    `opened` gives a session; `batch` gives logits [N, C, h, w] of frames [N, H, W, 3], or raises
    `Refused` with the reason why it cannot.
    """

    def __init__(
        self,
        name: str,
        target: str,
        file: str,
        opened: Callable[[], Runner],
        batch: Callable[[Frame], Floats],
    ) -> None:
        self.name, self.target, self.file = name, target, file
        self._sessions = [opened(), opened()]
        self._batch = batch
        self._logits = Difference()
        self._equal = self._pixels = 0
        self._repeat = 0.0
        self._rows: float | None = None
        self._note: str | None = None

    def add(self, frame: Frame, reference: Floats) -> None:
        """Count one more frame; `reference` are FP32's logits [C, h, w]."""
        first, second = (session.run(frame[None])[0] for session in self._sessions)
        if not self._pixels:
            self._compare_rows(frame)
        labels = [upsample_argmax(logits, frame.shape[:2]) for logits in (first, reference)]
        self._equal += int((labels[0] == labels[1]).sum())
        self._pixels += labels[0].size
        self._logits.add(reference, first)
        self._repeat = float(np.maximum(self._repeat, np.abs(first - second).max()))

    def row(self) -> EngineRow:
        """The result, after which it is closed."""
        for session in self._sessions:
            session.close()
        error = self._logits.error
        return EngineRow(
            self.name, self.target, self.file, self._equal / self._pixels, error.sqnr_db,
            error.max_abs, self._repeat, self._rows, error.finite, self._note,
        )  # fmt: skip

    def _compare_rows(self, frame: Frame) -> None:
        """The same frame in the first and last row, its mirror image between them."""
        try:
            logits = self._batch(np.stack([frame, frame[:, ::-1], frame]))
        except Refused as error:
            self._note = str(error)
        else:
            self._rows = float(np.abs(logits[0] - logits[2]).max())


def on_cpu(bundle: Bundle, candidate: Candidate, target: str = "cpu") -> Untouched:
    """A graph of the bundle on onnxruntime or OpenVINO."""
    data, spec = bundle.read(candidate.file), bundle.spec

    def batch(frames: Frame) -> Floats:
        graph = dynamic.opened(candidate.graph, batch=True).SerializeToString()
        if target != "cpu":
            raise Refused(f"{target} runs one frame at a time here")
        logits: Floats = load_graph(graph, candidate.name).run(None, {"frames": frames})[0]
        return logits

    return Untouched(
        candidate.name,
        target,
        candidate.file.name,
        lambda: cpu_session(target, data, spec, candidate.name),
        batch,
    )


def plan_engines(bundle: Bundle, target: str, precisions: Sequence[str]) -> list[Untouched]:
    """The bundle's plans for a target; one that cannot run here raises what its session does."""
    files = [f for f in bundle.manifest.files if f.kind == "plan" and f.target == target]
    chosen = [f for f in files if not precisions or f.precision in precisions]
    if not chosen:
        raise Refused(
            f"{bundle.root} has no plan for {target}: build one with python "
            f"export/build_engine.py --bundle {bundle.root} --target {target}"
        )
    return [_on_gpu(bundle, target, str(file.precision), file.name) for file in chosen]


def _on_gpu(bundle: Bundle, target: str, precision: str, file: str) -> Untouched:
    session = open_session(bundle, precision, target)

    def batch(frames: Frame) -> Floats:
        most = int(getattr(session, "most_frames", 1))
        if most < len(frames):
            raise Refused(f"the plan takes {most} frame{'s' if most > 1 else ''} at most")
        return session.run(frames)

    return Untouched(f"{precision} plan", target, file, lambda: session, batch)
