"""Two engines on every frame: `--compare fp32,int8` shows where their labels differ."""

from __future__ import annotations

import time
from dataclasses import replace

from crf.temporal import TemporalEvidence
from engines.bundle import Bundle
from engines.choice import choose_cpu_target
from engines.session import Session
from runtime.agreement import Agreement
from runtime.cpu_path import CpuPath
from runtime.engine_name import EngineName, in_words, parse_pair
from runtime.frame_path import Labels, Logits
from runtime.mean import Mean
from runtime.options import Options
from runtime.refiner import CrfRefiner, choose_crf
from runtime.source import Frame, Image
from runtime.split_view import SplitView, status_line
from runtime.timings import Distribution, Timings

SHOWN = 30  # frames that the milliseconds in the picture are a mean of, so that they can be read

Inferred = tuple[Image, Logits]


class ComparePath:
    """Sends each frame through two paths, one after the other, so that neither slows the other.

    A frame is fitted to the model once, for both. What the stream hands on are the labels of the
    first; those of the second are what a stream of the second alone would give.

    Args:
        first: Of the engine on the left; its timings are the stream's.
        second: Of the one on the right; its stages are timed as `infer b` and so on. Neither path
            draws.
        agreement: Counts each frame.
        drawer: Draws the picture; without one there is none.
    """

    def __init__(
        self, first: CpuPath, second: CpuPath, agreement: Agreement, drawer: SplitView | None
    ) -> None:
        self.timings = first.timings
        second.timings = SecondTimings(first.timings)
        self.agreement = agreement
        self._paths = first, second
        self._drawer = drawer
        self._shown = Mean(SHOWN), Mean(SHOWN)  # milliseconds of inference
        self._second_labels: Labels | None = None  # between `label` and `draw` of one frame

    def prepare(self, frame: Frame) -> Image:
        """The input of both models."""
        return self._paths[0].prepare(frame)

    def infer(self, prepared: Image) -> tuple[Inferred, Inferred]:
        """What the two infer."""
        first, second = (self._timed(number, prepared) for number in (0, 1))
        return first, second

    def label(self, frame: Frame, inferred: tuple[Inferred, Inferred]) -> Labels:
        """The first one's labels."""
        pairs = zip(self._paths, inferred, strict=True)
        first, second = (path.label(frame, result) for path, result in pairs)
        with self.timings.measure("agreement"):
            self.agreement.add(first, second, frame.index, frame.time)
        self._second_labels = second
        return first

    def draw(
        self,
        frame: Frame,
        inferred: tuple[Inferred, Inferred],
        labels: Labels,
        fps: float,
        age: float,
    ) -> Image | None:
        """Both sides, and how far they agree."""
        second, match = self._second_labels, self.agreement.latest
        if self._drawer is None or second is None or match is None:
            return None
        with self.timings.measure("draw"):
            worst = "" if match.worst is None else self.agreement.classes[match.worst]
            status = status_line(match, self.agreement.mean, worst, fps, age)
            titles = self._title(0), self._title(1)
            return self._drawer.draw(frame.image, labels, second, titles, status)

    def _timed(self, number: int, prepared: Image) -> Inferred:
        start = time.perf_counter()
        result = self._paths[number].infer(prepared)
        self._shown[number].add(1e3 * (time.perf_counter() - start))
        return result

    def _title(self, number: int) -> str:
        ms = float(self._shown[number].value)
        return f"{'AB'[number]}   {self.agreement.engines[number]}   {ms:.1f} ms"


class SecondTimings(Timings):
    """The second path's stages, among the first one's as `infer b` and so on.

    Their CPU time is the stage's own, so that `Stream.overhead_core_ms` leaves it out as well.
    """

    def __init__(self, first: Timings) -> None:
        super().__init__()
        self._first = first

    def add(self, stage: str, wall: float, cpu: float) -> None:
        """Count one run of the second path's `stage`; seconds."""
        self._first.stages.setdefault(f"{stage} b", Distribution()).add(wall)
        self._first.cpu[stage] = self._first.cpu.get(stage, 0.0) + cpu


def choose_engines(bundle: Bundle, names: str, target: str) -> tuple[EngineName, EngineName, str]:
    """The engines of `--compare`, each with its target: its own, that of `--target`, or for "auto"
    the faster one of the CPU; and why the first one has its."""

    def settled(name: EngineName) -> tuple[EngineName, str]:
        wanted, why = target if name.target == "auto" else name.target, ""
        if wanted == "auto":
            wanted, why = choose_cpu_target(bundle.report(), name.precision)
        return replace(name, target=wanted), why or f"{wanted}: as asked"

    (first, why), (second, _) = map(settled, parse_pair(names))
    return first, second, why


def compare_path(
    sessions: tuple[Session, Session],
    options: Options,
    crf: CrfRefiner | None,
    drawer: SplitView | None,
) -> ComparePath:
    """A way through both engines; the second gets evidence and a CRF of its own, too."""
    first, second = sessions
    other_crf, _ = choose_crf(options.crf, first.spec, options.crf_budget)
    first_path = CpuPath(first, temporal(options), crf)
    second_path = CpuPath(second, temporal(options), other_crf)
    agreement = Agreement(first.spec.classes, (in_words(first), in_words(second)))
    return ComparePath(first_path, second_path, agreement, drawer)


def temporal(options: Options) -> TemporalEvidence | None:
    """What remembers the frames before, for one path."""
    return TemporalEvidence() if options.temporal == "on" else None
