"""Open dimensions: every row of a batch and every size gives what the fixed graph gives."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, helper, numpy_helper

from calibration.graphs.execution import load
from calibration.graphs.qdq import quantize
from engines.failures import Refused
from export.contract import shape_of
from export.dynamic import opened
from export.half import to_half
from tests.export.miniature import SIZE, miniature, ranges_of


def int8(model: ModelProto) -> ModelProto:
    return to_half(quantize(model, ranges_of(model).tensors, "s8"))


def frames(count: int, size: tuple[int, int] = SIZE) -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (count, *size, 3), np.uint8)


def run(model: ModelProto, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.asarray(load(model).run(None, {"frames": batch})[0])


@pytest.mark.parametrize("kind", [lambda model: model, to_half, int8], ids=["fp32", "fp16", "int8"])
def test_each_row_of_a_batch_is_what_its_frame_gives_alone(
    kind: Callable[[ModelProto], ModelProto],
) -> None:
    fixed = kind(miniature())
    batch = frames(3)
    result = run(opened(fixed, batch=True), batch)
    alone = np.concatenate([run(fixed, batch[index : index + 1]) for index in range(3)])
    # An INT8 code may flip where onnxruntime adds up in another order; so no bit for bit there.
    assert np.abs(result - alone).mean() < 1e-3 * alone.std()


def test_every_size_gives_what_a_graph_of_that_size_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    model = opened(miniature(), batch=True, size=True)
    for size in ((33, 49), (65, 64), (32, 47)):
        monkeypatch.setattr("tests.export.miniature.SIZE", size)
        here = -(-size[0] // 4), -(-size[1] // 4)
        twin = miniature()
        for tensor in twin.graph.initializer:
            if tensor.name in ("plane", "back"):
                channels = 1 if tensor.name == "plane" else 32
                value = np.array([1, channels, *here])
                tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
        dims = twin.graph.output[0].type.tensor_type.shape.dim
        dims[2].dim_value, dims[3].dim_value = here
        batch = frames(2, size)
        both = run(model, batch)
        assert both.shape == (2, 3, *here)
        np.testing.assert_allclose(both[1:], run(twin, batch[1:]), atol=1e-5)


def test_only_what_is_asked_for_is_open_and_the_original_stays() -> None:
    fixed = miniature()
    before = fixed.SerializeToString()
    assert shape_of(opened(fixed, batch=True).graph.input[0]) == ("batch", *SIZE, 3)
    sized = opened(fixed, batch=False, size=True)
    assert shape_of(sized.graph.input[0]) == (1, "height", "width", 3)
    assert shape_of(sized.graph.output[0]) == (1, 3, "rows", "columns")
    assert fixed.SerializeToString() == before


def test_a_graph_that_computes_its_shapes_is_refused() -> None:
    once = opened(miniature(), batch=True)
    with pytest.raises(Refused, match="computes its target shape"):
        opened(once, batch=True)


def with_reshape(target: list[int]) -> ModelProto:
    model = miniature()
    value = numpy_helper.from_array(np.array(target), "reshape_target")
    model.graph.initializer.append(value)
    model.graph.node.insert(
        7, helper.make_node("Reshape", ["d", "reshape_target"], ["d2"], "reshape")
    )
    model.graph.node[8].input[0] = "d2"
    return model


def test_a_reshape_of_four_dimensions_follows_and_any_other_is_refused() -> None:
    height, width = (-(-n // 4) for n in SIZE)
    model = with_reshape([1, 32, height, width])
    batch = frames(2)
    result = run(opened(model, batch=True, size=True), batch)
    np.testing.assert_allclose(result[1:], run(model, batch[1:]), atol=1e-5)
    with pytest.raises(Refused, match="--batch 1"):
        opened(with_reshape([32, 1, height, width]), batch=True)


def test_a_map_that_no_stride_explains_is_refused() -> None:
    model = with_reshape([1, 32, 13, 9])
    assert opened(model, batch=True)
    with pytest.raises(Refused, match="no stride does"):
        opened(model, batch=False, size=True)
