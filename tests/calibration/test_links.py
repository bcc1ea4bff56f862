"""Links: which pairs of convolutions share a tensor with nobody else."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from calibration.graphs.links import by_input, find_links, is_unpadded
from calibration.graphs.wiring import Wiring

Chain = Callable[[str], ModelProto]


def pairs(model: ModelProto) -> list[tuple[str, str]]:
    return [(link.maker.name, link.reader.name) for link in find_links(model)]


def test_links_end_where_a_tensor_has_two_readers_or_meets_others(miniature: ModelProto) -> None:
    assert [(a.split("/")[0], b.split("/")[0]) for a, b in pairs(miniature)] == [
        ("stem", "depth"),
        ("depth", "point"),  # point is read by wide and detail
        ("wide", "shrink"),
        ("shrink", "narrow"),  # narrow by expand and the Add
        ("expand", "atrous"),
        ("atrous", "linear"),  # linear by the Add; branches by Concats, project by Resize
        ("refine", "classifier"),
    ]


@pytest.mark.parametrize(("activation", "ceiling"), [("relu", math.inf), ("relu6", 6.0)])
def test_a_link_knows_its_activation(chain: Chain, activation: str, ceiling: float) -> None:
    for link in find_links(chain(activation)):
        assert (link.rectified, link.ceiling) == (True, ceiling)


def test_convolutions_in_a_row_are_linked_without_activation(chain: Chain) -> None:
    model = chain("relu")
    relu, reader = (node for node in model.graph.node if node.name in ("stem/Relu", "depth/Conv"))
    reader.input[0] = relu.input[0]
    model.graph.node.remove(relu)
    link = find_links(model)[0]
    assert (link.maker.name, link.reader.name) == ("stem/Conv", "depth/Conv")
    assert not link.rectified


def test_a_clip_that_does_not_start_at_zero_makes_no_link(chain: Chain) -> None:
    model = chain("relu6")
    Wiring(model).constants["zero"].CopyFrom(
        numpy_helper.from_array(np.array(-1, np.float32), "zero")
    )
    assert pairs(model) == []


def test_an_output_or_shared_weights_make_no_link(chain: Chain) -> None:
    model = chain("relu")
    watched = copy.deepcopy(model)
    watched.graph.output.append(helper.make_tensor_value_info("stem/Relu", TensorProto.FLOAT, None))
    assert pairs(watched) == [("depth/Conv", "classifier/Conv")]
    shared = copy.deepcopy(model)
    depth = next(node for node in shared.graph.node if node.name == "depth/Conv")
    depth.input[2] = "stem.bias"
    assert pairs(shared) == []


def test_padding_is_seen(chain: Chain) -> None:
    nodes = {node.name: node for node in chain("relu").graph.node}
    assert not is_unpadded(nodes["depth/Conv"])
    assert is_unpadded(nodes["classifier/Conv"])


def test_weights_by_input_channel() -> None:
    weight = np.arange(6 * 2 * 3 * 3).reshape(6, 2, 3, 3)  # three groups of two inputs
    view = by_input(weight, 3)
    assert view.shape == (3, 2, 2, 9)
    assert np.array_equal(view[1, 0, 1], weight[2, 1].ravel())
