"""Calibration: what each activation tensor spans on real frames.

Streaming: one frame at a time goes through the float graph with its inner tensors exposed, and
only running statistics stay, so memory does not grow with the number of frames (onnxruntime's own
histogram calibrators keep every activation of every frame). Minimum, maximum and histogram counts
do not depend on the order of the frames.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper
from tqdm import tqdm

from calibration.execution import load
from calibration.placement import ACTIVATIONS, INTEGER_OPERATORS
from calibration.wiring import Wiring, float_activations
from engines.failures import Refused

Frame = NDArray[np.uint8]  # [H, W, 3] RGB at the model's input size
Range = tuple[float, float]

METHODS = ("minmax", "percentile")
BINS = 2048
PERCENTILE = 99.999  # of the values inside the range, both tails together


def observe(
    model: ModelProto,
    frames: Sequence[Frame],
    method: str = "minmax",
    tensors: Collection[str] | None = None,
) -> dict[str, Range]:
    """Lowest and highest value of activation tensors of a float graph over `frames`.

    `minmax` goes over the frames once; `percentile` goes twice and cuts both tails, so that
    99.999 % of the values are inside. By default every tensor that a Q/DQ graph may quantize is
    observed. No frames, flat or misfit ones, and activations that are not finite raise `Refused`.
    """
    if method not in METHODS:
        raise ValueError(f"unknown calibration method {method!r}; known: {', '.join(METHODS)}")
    names = quantizable(model) if tensors is None else list(tensors)
    ranges = _extremes(model, frames, names)
    return ranges if method == "minmax" else _percentiles(model, frames, ranges)


def quantizable(model: ModelProto) -> list[str]:
    """The float activations that a flavour may quantize, in graph order.

    They touch an operator with an integer kernel. What only a Clip or Relu reads is left out:
    quantization happens after the activation.
    """
    wiring = Wiring(model)
    result = []
    for name in float_activations(model):
        readers = [node.op_type for node in wiring.consumers[name]]
        touched = {wiring.producer[name].op_type, *readers}
        before_activation = readers and all(kind in ACTIVATIONS for kind in readers)
        if touched & INTEGER_OPERATORS and (name in wiring.outputs or not before_activation):
            result.append(name)
    return result


def _run(
    model: ModelProto, frames: Sequence[Frame], names: list[str], what: str
) -> Iterator[dict[str, NDArray[np.float32]]]:
    """The values of `names`, frame by frame."""
    session = load(expose(model, names))
    feed = model.graph.input[0]
    shape = tuple(dim.dim_value for dim in feed.type.tensor_type.shape.dim)[1:]
    varied = False
    for frame in tqdm(frames, desc=what, unit="frame", disable=None):
        if frame.dtype != np.uint8 or frame.shape != shape:
            raise Refused(
                f"a calibration frame is {frame.dtype} {list(frame.shape)}, the model takes uint8 "
                f"{list(shape)}: fit frames to the model's size first"
            )
        varied = varied or bool(frame.min() != frame.max())
        yield dict(zip(names, session.run(names, {feed.name: frame[None]}), strict=True))
    if not varied:
        raise Refused(
            "there is no calibration frame, or each is one flat colour (a camera cap, an empty "
            "render): give frames like those of the device with --data"
        )


def expose(model: ModelProto, names: Collection[str]) -> ModelProto:
    """A copy of a float graph with inner tensors as further outputs."""
    result = ModelProto()
    result.CopyFrom(model)
    present = {value.name for value in model.graph.output}
    for name in names:
        if name not in present:
            result.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    return result


def _extremes(model: ModelProto, frames: Sequence[Frame], names: list[str]) -> dict[str, Range]:
    ranges = dict.fromkeys(names, (np.inf, -np.inf))
    for index, values in enumerate(_run(model, frames, names, "calibration")):
        for name, value in values.items():
            low, high = float(value.min()), float(value.max())
            if not (np.isfinite(low) and np.isfinite(high)):
                raise Refused(
                    f"{name} is not finite on calibration frame {index}: the checkpoint has "
                    "diverged or overflows; evaluate it with python train/evaluate.py"
                )
            ranges[name] = (min(ranges[name][0], low), max(ranges[name][1], high))
    return ranges


def _percentiles(
    model: ModelProto, frames: Sequence[Frame], ranges: dict[str, Range]
) -> dict[str, Range]:
    counts = {name: np.zeros(BINS, np.int64) for name in ranges}
    for values in _run(model, frames, list(ranges), "histograms"):
        for name, value in values.items():
            counts[name] += np.histogram(value, BINS, ranges[name])[0]
    return {name: cut(counts[name], *span) for name, span in ranges.items()}


def cut(counts: NDArray[np.int64], low: float, high: float) -> Range:
    """The range that keeps PERCENTILE of the counts, half of the rest cut from each tail."""
    tail = counts.sum() * (1 - PERCENTILE / 100) / 2
    first = int(np.searchsorted(np.cumsum(counts), tail, side="right"))
    last = BINS - 1 - int(np.searchsorted(np.cumsum(counts[::-1]), tail, side="right"))
    step = (high - low) / BINS
    return low + first * step, high - (BINS - 1 - last) * step
