"""How far each frame stretches each activation's range, and how soon more frames stop mattering."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper
from tqdm import tqdm

from calibration.frame_checks.looks import Frame
from calibration.graphs.execution import load
from calibration.ranges.observe import quantizable
from engines.failures import Refused

TOLERANCE = 0.01  # of a range, that chosen frames may miss at each end
ENOUGH = 0.98  # of the ranges, in the mean: a step 2 % finer or coarser is 0.2 dB of noise
ORDERS = 20  # random orders of the frames that the curve is the mean of
SEED = 0


@dataclass(frozen=True)
class Extremes:
    """Lowest and highest value [frames, tensors] of each tensor on each frame."""

    tensors: tuple[str, ...]
    low: NDArray[np.float32]
    high: NDArray[np.float32]

    @property
    def span(self) -> NDArray[np.float32]:
        """The width of each tensor's range over all frames; 0 for a constant."""
        return np.asarray(self.high.max(axis=0) - self.low.min(axis=0))


def extremes(model: ModelProto, frames: Sequence[Frame]) -> Extremes:
    """Run a float graph over frames; what is not finite raises `Refused`.

    The graph reduces each tensor itself, so nothing but two numbers a tensor leaves it: memory
    does not grow with the frames, and no activation is copied.
    """
    tensors = quantizable(model)
    session = load(reduced(model, tensors), lean=True)
    feed = model.graph.input[0].name
    rows = [
        session.run(None, {feed: frame[None]})[-1]
        for frame in tqdm(frames, desc="ranges of each frame", unit="frame", disable=None)
    ]
    both = np.asarray(rows, np.float32).reshape(len(rows), 2, len(tensors))
    if not np.isfinite(both).all():
        raise Refused(
            "activations are not finite on a calibration frame: the checkpoint has diverged or "
            "overflows; evaluate it with python train/evaluate.py"
        )
    return Extremes(tuple(tensors), both[:, 0], both[:, 1])


def reduced(model: ModelProto, tensors: Sequence[str]) -> ModelProto:
    """A copy with one more output [2 tensors]: the lowest values, then the highest."""
    result = ModelProto()
    result.CopyFrom(model)
    names = []
    for kind in ("ReduceMin", "ReduceMax"):
        for index, tensor in enumerate(tensors):
            names.append(f"doctor.{kind}.{index}")
            node = helper.make_node(kind, [tensor], [names[-1]], names[-1], keepdims=0)
            result.graph.node.append(node)
    shaped = [f"{name}.1d" for name in names]
    shape = helper.make_tensor("doctor.shape", TensorProto.INT64, [1], [1])
    result.graph.initializer.append(shape)
    for name, output in zip(names, shaped, strict=True):
        result.graph.node.append(helper.make_node("Reshape", [name, shape.name], [output], output))
    result.graph.node.append(helper.make_node("Concat", shaped, ["doctor"], "doctor", axis=0))
    value = helper.make_tensor_value_info("doctor", TensorProto.FLOAT, [len(names)])
    result.graph.output.append(value)
    return result


def coverage_curve(found: Extremes) -> NDArray[np.float64]:
    """[frames]: which part of the full ranges the first 1, 2, ... frames span.

    The mean over tensors and over random orders of the frames; the last is 1.
    """
    random = np.random.default_rng(SEED)
    count = len(found.low)
    total = np.zeros(count)
    for _ in range(ORDERS):
        order = random.permutation(count)
        high = np.maximum.accumulate(found.high[order], axis=0)
        low = np.minimum.accumulate(found.low[order], axis=0)
        whole = np.ones_like(high)  # a constant is known from the first frame on
        total += np.divide(high - low, found.span, out=whole, where=found.span > 0).mean(axis=1)
    return total / ORDERS


def enough(curve: NDArray[np.float64]) -> int | None:
    """How many frames, whichever, span ENOUGH; None if that takes more than half of them.

    With all frames nothing is ever missing, so an answer near their number is none.
    """
    count = int(np.argmax(curve >= ENOUGH)) + 1
    return count if 2 * count <= len(curve) else None
