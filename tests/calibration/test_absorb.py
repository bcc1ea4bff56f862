"""Absorption: biases shrink, the float function stays, and where it would not nothing is moved."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper

from calibration.graphs.execution import load
from calibration.graphs.wiring import Wiring
from calibration.ranges.channels import Spans, channel_spans
from calibration.repairs.absorb import find_shifts
from calibration.repairs.bias_correction import add_biases

Frames = list[NDArray[np.uint8]]
Chain = Callable[[str], ModelProto]
HIGH = [3, 7]  # channels that never fall to zero


def logits(model: ModelProto, frames: Frames) -> NDArray[np.float32]:
    session = load(model)
    return np.stack([session.run(None, {"frames": frame[None]})[0] for frame in frames])


def lifted(model: ModelProto, name: str, by: float) -> ModelProto:
    """With two channels of a convolution, halved first, lifted by a large bias."""
    result = copy.deepcopy(model)
    wiring = Wiring(result)
    for kind in ("weight", "bias"):
        tensor = wiring.constants[f"{name}.{kind}"]
        value = numpy_helper.to_array(tensor).copy()
        value[HIGH] *= 0.1
        if kind == "bias":
            value[HIGH] += by
        tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
    return result


@pytest.mark.parametrize(("activation", "bias"), [("relu", 20.0), ("relu6", 3.0)])
def test_large_biases_move_and_the_function_stays(
    chain: Chain, frames: Frames, activation: str, bias: float
) -> None:
    model = lifted(chain(activation), "depth", bias)
    spans = channel_spans(model, frames)
    shifts = find_shifts(model, spans)
    assert set(shifts) == {"depth/Conv", "classifier/Conv"}
    after = copy.deepcopy(model)
    add_biases(after, shifts)
    np.testing.assert_allclose(logits(after, frames), logits(model, frames), rtol=1e-4, atol=1e-4)
    moved = -np.array(shifts["depth/Conv"])
    assert np.all(moved[HIGH] > bias / 2)
    tops = channel_spans(after, frames)["depth/Conv"][1]
    np.testing.assert_allclose(tops, spans["depth/Conv"][1] - moved, rtol=1e-4, atol=1e-4)


def test_nothing_moves_into_a_padded_convolution(chain: Chain, frames: Frames) -> None:
    model = lifted(chain("relu"), "stem", 20.0)
    assert "stem/Conv" not in find_shifts(model, channel_spans(model, frames))


def test_channels_that_a_clip_cuts_off_stay(chain: Chain, frames: Frames) -> None:
    model = lifted(chain("relu6"), "depth", 5.99)
    spans = channel_spans(model, frames)
    low, high = spans["depth/Conv"]
    assert np.all(low[HIGH] > 2)
    assert np.all(high[HIGH] > 6)
    assert "depth/Conv" not in find_shifts(model, spans)


def test_a_reader_that_heads_a_link_gets_both_shifts(chain: Chain) -> None:
    model = chain("relu")
    depth = next(node for node in model.graph.node if node.name == "depth/Conv")
    for item in depth.attribute:
        if item.name == "pads":
            item.ints[:] = [0] * 4
    ones = np.ones(16, np.float32)
    spans: Spans = dict.fromkeys(("stem/Conv", "depth/Conv"), (2 * ones, 3 * ones))
    shifts = find_shifts(model, spans)
    moved = np.float64(2 - 0.1)
    depthwise = Wiring(model).value("depth.weight").sum(axis=(1, 2, 3))
    np.testing.assert_allclose(shifts["stem/Conv"], -moved)
    np.testing.assert_allclose(shifts["depth/Conv"], moved * depthwise - moved, rtol=1e-5)
