"""Folding four columns into channels: the same numbers at the same name, or no rewrite."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper

from calibration.graphs.columns import fold_columns
from calibration.graphs.execution import load
from calibration.graphs.stem import read_bytes
from calibration.graphs.wiring import Wiring
from calibration.ranges.observe import expose

Frames = list[NDArray[np.uint8]]


@pytest.fixture
def reading(miniature: ModelProto) -> ModelProto:
    """The miniature after its stem reads bytes."""
    model = ModelProto()
    model.CopyFrom(miniature)
    assert read_bytes(model)
    return model


def test_every_value_stays_where_it_was(reading: ModelProto, frames: Frames) -> None:
    names = ["stem/Clip", "logits"]
    feed = {"frames": frames[0][None]}
    expected = load(expose(reading, names)).run(names, feed)
    assert fold_columns(reading) == {"stem/Clip.folded": "stem/Clip"}
    found = load(expose(reading, names)).run(names, feed)
    for before, after in zip(expected, found, strict=True):
        assert before.shape == after.shape
        np.testing.assert_allclose(after, before, atol=1e-5)


def test_the_convolution_sees_twelve_channels(reading: ModelProto) -> None:
    fold_columns(reading)
    wiring = Wiring(reading)
    assert wiring.shape("stem.weight") == (32, 12, 3, 2)
    assert wiring.shape("stem.bias") == (32,)


def odd_width(model: ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 50


def stride_one(model: ModelProto) -> None:
    set_ints(model, "strides", [1, 1])


def no_padding(model: ModelProto) -> None:
    set_ints(model, "pads", [0, 0, 0, 0])


def dilated(model: ModelProto) -> None:
    set_ints(model, "dilations", [2, 2])


def automatic_padding(model: ModelProto) -> None:
    convolution(model).attribute.append(helper.make_attribute("auto_pad", "SAME_UPPER"))


def set_ints(model: ModelProto, name: str, values: list[int]) -> None:
    attributes = convolution(model).attribute
    for item in [item for item in attributes if item.name == name]:
        attributes.remove(item)
    attributes.append(helper.make_attribute(name, values))


def convolution(model: ModelProto) -> NodeProto:
    found: list[NodeProto] = [node for node in model.graph.node if node.name == "stem/Conv"]
    return found[0]


@pytest.mark.parametrize("change", [odd_width, stride_one, no_padding, dilated, automatic_padding])
def test_another_first_convolution_is_left_alone(
    reading: ModelProto, change: Callable[[ModelProto], None]
) -> None:
    change(reading)
    before = reading.SerializeToString(deterministic=True)
    assert fold_columns(reading) == {}
    assert reading.SerializeToString(deterministic=True) == before


def test_a_graph_that_does_not_read_bytes_is_left_alone(miniature: ModelProto) -> None:
    model = ModelProto()
    model.CopyFrom(miniature)
    assert fold_columns(model) == {}
