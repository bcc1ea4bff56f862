"""Calibration: what each activation tensor spans on real frames.

Streaming: one frame at a time goes through the float graph with its inner tensors exposed, and
only running statistics stay, so memory does not grow with the number of frames (onnxruntime's own
histogram calibrators keep every activation of every frame). Two passes over the frames serve all
methods at once: extremes, then histograms between them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper
from tqdm import tqdm

from calibration.graphs.execution import load
from calibration.graphs.placement import ACTIVATIONS, INTEGER_OPERATORS
from calibration.graphs.wiring import Wiring, float_activations
from calibration.ranges.tally import Range, Statistics
from calibration.ranges.thresholds import find_range
from calibration.scheme import METHODS
from engines.failures import Refused

Frame = NDArray[np.uint8]  # [H, W, 3] RGB at the model's input size
Values = NDArray[np.float32]

# Bytes of inner tensors held at once. At 480x360 MobileNetV2's all fit (196 MB), and with what a
# run itself needs the peak is 220 MB (250 in parts).
MEMORY = 200_000_000


def observe(
    model: ModelProto,
    frames: Sequence[Frame],
    method: str = "minmax",
    tensors: Collection[str] | None = None,
) -> dict[str, Range]:
    """The range of activation tensors of a float graph over `frames`, by one method.

    By default every tensor that a Q/DQ graph may quantize is observed. For several methods use
    `collect` once and `calibration.ranges.thresholds.find_range` for each. Raises as `collect`
    does.
    """
    if method not in METHODS:
        raise ValueError(f"unknown calibration method {method!r}; known: {', '.join(METHODS)}")
    histograms = method not in ("minmax", "average")
    statistics = collect(model, frames, tensors, histograms)
    return {name: find_range(item, method) for name, item in statistics.items()}


def collect(
    model: ModelProto,
    frames: Sequence[Frame],
    tensors: Collection[str] | None = None,
    histograms: bool = True,
) -> dict[str, Statistics]:
    """Statistics of activation tensors of a float graph over `frames`, for every method.

    Goes over the frames twice; once if no `histograms` are wanted, which `minmax` and `average` do
    without. No frames, flat or misfit ones, and activations that are not finite raise `Refused`.
    """
    names = quantizable(model) if tensors is None else list(tensors)
    statistics = {name: Statistics() for name in names}

    def see(index: int, name: str, values: Values) -> None:
        try:
            statistics[name].see(values)
        except ValueError as error:
            raise Refused(
                f"{name} is not finite on calibration frame {index} ({error}): the checkpoint has "
                "diverged or overflows; evaluate it with python train/evaluate.py"
            ) from error

    _visit(model, frames, names, "calibration", see)
    if histograms:
        _visit(model, frames, names, "histograms", lambda _, name, v: statistics[name].count(v))
    return statistics


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


def _visit(
    model: ModelProto,
    frames: Sequence[Frame],
    names: list[str],
    what: str,
    take: Callable[[int, str, Values], None],
) -> None:
    """Call `take` with each frame's index, each tensor's name and its values, not to be kept.

    What would need more than MEMORY at once is taken in parts, each over all frames.
    """
    parts = split(names, tensor_bytes(model))
    varied = False
    progress = tqdm(total=len(parts) * len(frames), desc=what, unit="frame", disable=None)
    for part in parts:
        session = load(expose(model, part), lean=True)
        for index, frame in enumerate(frames):
            _check_fit(frame, model)
            varied = varied or bool(frame.min() != frame.max())
            feed = onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(frame[None]))
            # Session.run would return a copy of every tensor: twice the memory.
            outputs = session.run_with_ort_values(part, {model.graph.input[0].name: feed})
            while outputs:
                take(index, part[-len(outputs)], outputs.pop(0).numpy())
            progress.update()
        del session  # before the next one takes as much
    progress.close()
    if not varied:
        raise Refused(
            "there is no calibration frame, or each is one flat colour (a camera cap, an empty "
            "render): give frames like those of the device with --data"
        )


def split(names: Sequence[str], sizes: Mapping[str, int]) -> list[list[str]]:
    """Names in order, in parts whose `sizes` in bytes sum up to at most MEMORY."""
    parts: list[list[str]] = [[]]
    room = MEMORY
    for name in names:
        if sizes[name] > room and parts[-1]:
            parts.append([])
            room = MEMORY
        parts[-1].append(name)
        room -= sizes[name]
    return parts


def tensor_bytes(model: ModelProto) -> dict[str, int]:
    """The size in memory of each FP32 tensor that a node computes."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    return {
        value.name: 4 * math.prod(dim.dim_value for dim in value.type.tensor_type.shape.dim)
        for value in (*graph.value_info, *graph.output)
    }


def _check_fit(frame: Frame, model: ModelProto) -> None:
    dims = model.graph.input[0].type.tensor_type.shape.dim
    shape = tuple(dim.dim_value for dim in dims)[1:]
    if frame.dtype != np.uint8 or frame.shape != shape:
        raise Refused(
            f"a calibration frame is {frame.dtype} {list(frame.shape)}, the model takes uint8 "
            f"{list(shape)}: fit frames to the model's size first"
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
