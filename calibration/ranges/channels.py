"""What each channel of each convolution gives on real frames, before its activation.

Reduced inside the graph, so that a number per channel is all that leaves it; only what the asked
convolutions need is computed.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper
from tqdm import tqdm

from calibration.graphs.execution import load
from scenes.dataset import Frame

Spans = dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]  # node -> lowest, highest [C]


def convolutions(model: ModelProto) -> list[str]:
    """The names of the convolutions, in graph order."""
    return [node.name for node in model.graph.node if node.op_type == "Conv"]


def channel_spans(model: ModelProto, frames: Sequence[Frame]) -> Spans:
    """Lowest and highest result of every convolution of a float graph, per channel."""
    names = convolutions(model)
    spans: Spans = {}
    for values in _reduced(model, names, ("ReduceMin", "ReduceMax"), frames, "channel spans"):
        for name, (low, high) in zip(names, values, strict=True):
            before = spans.get(name, (low, high))
            spans[name] = np.minimum(before[0], low), np.maximum(before[1], high)
    return spans


def channel_means(
    model: ModelProto, names: Collection[str], frames: Sequence[Frame]
) -> dict[str, NDArray[np.float64]]:
    """Mean result of the convolutions `names`, per channel.

    The same to the last bit in any order of the frames: their means are summed in sorted order.
    Until then they are kept, 4 bytes per channel: 60 KB a frame for all of MobileNetV2.
    """
    rows = list(_reduced(model, names, ("ReduceMean",), frames, "channel means"))
    return {
        name: np.sort([row[index][0] for row in rows], axis=0).mean(axis=0, dtype=np.float64)
        for index, name in enumerate(names)
    }


def _reduced(
    model: ModelProto,
    names: Collection[str],
    operators: Sequence[str],
    frames: Sequence[Frame],
    what: str,
) -> Iterator[list[list[NDArray[np.float32]]]]:
    """Frame by frame: for each convolution of `names`, its result [C] reduced by each operator."""
    session = load(_reducing(model, names, operators))
    feed = model.graph.input[0].name
    for frame in tqdm(frames, what, unit="frame", disable=None, leave=False):
        flat = session.run(None, {feed: frame[None]})
        yield [flat[at : at + len(operators)] for at in range(0, len(flat), len(operators))]


def _reducing(model: ModelProto, names: Collection[str], operators: Sequence[str]) -> ModelProto:
    """A copy of a graph that gives the reduced results of convolutions instead of its own."""
    result = copy.deepcopy(model)
    graph = result.graph
    tensors = {node.name: node.output[0] for node in graph.node}
    axes = numpy_helper.from_array(np.array([0, 2, 3], np.int64), "reduced.axes")
    graph.initializer.append(axes)
    del graph.output[:]
    for name in names:
        for operator in operators:
            made, inputs = f"{name}.{operator}", [tensors[name], axes.name]
            graph.node.append(helper.make_node(operator, inputs, [made], made, keepdims=0))
            graph.output.append(helper.make_tensor_value_info(made, TensorProto.FLOAT, None))
    return result
