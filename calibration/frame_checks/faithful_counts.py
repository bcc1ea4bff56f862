"""How faithful INT8 is after calibration on few and on all frames: the last word on how many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from onnx import ModelProto

from calibration.fidelity import Fidelity, Reference
from calibration.frames import HELD_OUT, CalibrationFrames, divide
from calibration.graphs.qdq import quantize
from calibration.ranges.observe import observe
from calibration.scheme import Scheme
from engines.failures import Refused
from scenes.dataset import Dataset

PARTS = (8, 4, 2, 1)  # an eighth, a quarter, half and all of the frames
LEAST = 2 * PARTS[0]  # frames


@dataclass(frozen=True)
class CountScore:
    """A graph calibrated on `frames` frames, against FP32 on the held-out ones."""

    frames: int
    fidelity: Fidelity


def scores_by_count(
    graph: ModelProto, dataset: Dataset, indices: Sequence[int], size: tuple[int, int]
) -> list[CountScore]:
    """Quantize for the CPU after each count, and score on frames that no count saw.

    The method is the default scheme's, without repairs. Fewer than LEAST frames: `Refused`.
    """
    if len(indices) < LEAST:
        raise Refused(
            f"--fidelity needs {LEAST} frames or more to hold some out, here are {len(indices)}"
        )
    observed, judged = divide(len(indices), len(indices), HELD_OUT)
    reference = Reference(graph, _frames(dataset, indices, judged, size))
    scores = []
    for part in PARTS:
        frames = _frames(dataset, indices, observed[::part], size)
        ranges = observe(graph, frames, Scheme().method)
        scores.append(CountScore(len(frames), reference.score(quantize(graph, ranges, "u8"))))
    return scores


def _frames(
    dataset: Dataset, indices: Sequence[int], places: Sequence[int], size: tuple[int, int]
) -> CalibrationFrames:
    return CalibrationFrames(dataset, size, [indices[place] for place in places])
