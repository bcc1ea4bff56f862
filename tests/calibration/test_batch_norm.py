"""Folding of batch norms: the same function with fewer nodes, and what cannot be folded stays."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from calibration.graphs.execution import load
from calibration.graphs.qdq import quantize
from calibration.ranges.observe import observe
from calibration.repairs.batch_norm import fold_batch_norms

Frames = list[NDArray[np.uint8]]
Chain = Callable[[str], ModelProto]


def with_batch_norm(model: ModelProto, after: str) -> ModelProto:
    """Put a batch norm between a node and what reads it."""
    random = np.random.default_rng(5)
    channels = 16
    values = {
        "gamma": random.uniform(0.5, 2, channels),
        "beta": random.normal(0, 1, channels),
        "mean": random.normal(0, 1, channels),
        "variance": random.uniform(0.2, 3, channels),
    }
    for name, value in values.items():
        model.graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), name))
    position = [node.name for node in model.graph.node].index(after)
    result = model.graph.node[position].output[0]
    for node in model.graph.node:
        if node.input[0] == result:
            node.input[0] = "normalised"
    norm = helper.make_node(
        "BatchNormalization", [result, *values], ["normalised"], "norm", epsilon=1e-3
    )
    model.graph.node.insert(position + 1, norm)
    return model


def logits(model: ModelProto, frames: Frames) -> NDArray[np.float32]:
    session = load(model)
    return np.stack([session.run(None, {"frames": frame[None]})[0] for frame in frames])


@pytest.mark.parametrize("biased", [True, False])
def test_folding_keeps_the_function(chain: Chain, frames: Frames, biased: bool) -> None:
    model = with_batch_norm(chain("relu6"), "depth/Conv")
    if not biased:
        depth = next(node for node in model.graph.node if node.name == "depth/Conv")
        del depth.input[2]
    before = logits(model, frames)
    assert fold_batch_norms(model) == ["norm"]
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
    np.testing.assert_allclose(logits(model, frames), before, rtol=1e-4, atol=1e-4)
    quantize(model, observe(model, frames), "u8")


def test_a_batch_norm_elsewhere_stays(chain: Chain) -> None:
    assert fold_batch_norms(with_batch_norm(chain("relu"), "stem/Relu")) == []


def test_a_result_that_others_read_stays(chain: Chain) -> None:
    model = with_batch_norm(chain("relu"), "stem/Conv")
    model.graph.output.append(helper.make_tensor_value_info("stem/Conv", TensorProto.FLOAT, None))
    assert fold_batch_norms(model) == []


def test_the_miniature_has_none(miniature: ModelProto) -> None:
    assert fold_batch_norms(miniature) == []
