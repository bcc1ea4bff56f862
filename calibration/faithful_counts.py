"""How faithful INT8 is after calibration on few and on all frames: the last word on how many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from onnx import ModelProto

from calibration.fidelity import Fidelity, Reference
from calibration.looks import Frame
from calibration.observe import observe
from calibration.picked import Picked
from calibration.qdq import quantize
from calibration.scheme import Scheme
from engines.failures import Refused

PARTS = (8, 4, 2, 1)  # an eighth, a quarter, half and all of the frames
EVERY = 5  # every 5th frame is held out
LEAST = 10  # frames that make four counts and a few held out


@dataclass(frozen=True)
class CountScore:
    """A graph calibrated on `frames` frames, against FP32 on the held-out ones."""

    frames: int
    fidelity: Fidelity


def scores_by_count(graph: ModelProto, frames: Sequence[Frame]) -> list[CountScore]:
    """Quantize for the CPU after each count, and score on frames that no count saw.

    The method is the default scheme's, without repairs. Fewer than LEAST frames: `Refused`.
    """
    if len(frames) < LEAST:
        raise Refused(
            f"--fidelity needs {LEAST} frames or more to hold some out, here are {len(frames)}"
        )
    held_out = range(EVERY // 2, len(frames), EVERY)
    used = [index for index in range(len(frames)) if index not in set(held_out)]
    reference = Reference(graph, Picked(frames.__getitem__, held_out))
    scores = []
    for part in PARTS:
        chosen = Picked(frames.__getitem__, used[::part])
        ranges = observe(graph, chosen, Scheme().method)
        scores.append(CountScore(len(chosen), reference.score(quantize(graph, ranges, "u8"))))
    return scores
