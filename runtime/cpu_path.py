"""A frame's way through the CPU's pixel loops, whatever runs the model in between."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engines.labels import upsample_argmax
from engines.preprocess import fit_frame
from engines.session import Session
from runtime.frame_path import Drawer, Labels, Logits, Refiner, Watch, follows
from runtime.source import Frame, Image
from runtime.timings import Timings

if TYPE_CHECKING:
    from crf.temporal import TemporalEvidence


class CpuPath:
    """Resize, run, steady by the frames before, label or refine, draw.

    Args:
        session: A loaded model; it stays the caller's to close.
        temporal: Steadies the logits by the frames before; it serves this path alone.
        refiner: A CRF instead of the plain arg max of the logits.
        drawer: Draws the picture; without one there is none.
        watch: Sees each frame that is drawn.
    """

    def __init__(
        self,
        session: Session,
        temporal: TemporalEvidence | None = None,
        refiner: Refiner | None = None,
        drawer: Drawer | None = None,
        watch: Watch | None = None,
    ) -> None:
        self.timings = Timings()
        self._session = session
        self._temporal = temporal
        self.refiner = refiner  # may be replaced from any thread: `label` looks once a frame
        self._drawer = drawer
        self._watch = watch
        self._before = 0.0  # time of the frame before

    def prepare(self, frame: Frame) -> Image:
        """The model's input."""
        with self.timings.measure("prepare"):
            return fit_frame(frame.image, self._session.spec.input_size)

    def infer(self, prepared: Image) -> tuple[Image, Logits]:
        """The model's input again, and its logits."""
        with self.timings.measure("infer"):
            return prepared, self._session.run(prepared[None])[0]

    def label(self, frame: Frame, inferred: tuple[Image, Logits]) -> Labels:
        """Labels of the frame's own size."""
        image, logits = inferred
        if self._watch is not None:
            with self.timings.measure("drift"):
                self._watch.see(image)
        if self._temporal is not None:
            with self.timings.measure("temporal"):
                if not follows(self._before, frame.time):
                    self._temporal.forget()
                self._before, logits = frame.time, self._temporal.update(image, logits)
        refiner = self.refiner
        if refiner is not None:
            with self.timings.measure("crf"):
                return refiner.refine(frame.image, logits)
        with self.timings.measure("labels"):
            return upsample_argmax(logits, (frame.image.shape[0], frame.image.shape[1]))

    def draw(
        self,
        frame: Frame,
        inferred: tuple[Image, Logits],
        labels: Labels,
        fps: float,
        age: float,
    ) -> Image | None:
        """The drawer's picture."""
        if self._drawer is None:
            return None
        with self.timings.measure("draw"):
            return self._drawer.draw(frame.image, labels, fps, age)
