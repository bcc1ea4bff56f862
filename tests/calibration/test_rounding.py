"""Sum-keeping rounding: on the grid, near the values, sums right, and the codes that are stored."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper

from calibration.graphs.placement import Flavour
from calibration.graphs.qdq import quantize
from calibration.graphs.wiring import Wiring
from calibration.ranges.observe import observe
from calibration.repairs.rounding import round_depthwise, round_keeping_sums

weights = arrays(np.float32, (4, 1, 3, 3), elements=st.floats(-2, 2, width=32))


def twin(taps: NDArray[np.float64]) -> NDArray[np.float64]:
    """One channel, one flip at a time: always the tap that was rounded furthest away."""
    scale = np.abs(taps).max() / 127
    codes = np.rint(taps / scale)
    while abs(missing := (taps / scale - codes).sum()) > 0.5:
        side = np.sign(missing)
        codes[np.argmax((taps / scale - codes) * side)] += side
    return np.asarray(codes * scale)


@given(weights)
def test_codes_are_near_and_sums_are_right(weight: NDArray[np.float32]) -> None:
    weight[np.abs(weight) < 1e-3] = 0
    result = round_keeping_sums(weight)
    step = np.abs(weight).max(axis=(1, 2, 3), keepdims=True) / 127
    codes = result / np.where(step > 0, step, 1)
    np.testing.assert_allclose(codes, np.rint(codes), atol=1e-3)
    assert np.abs(codes).max(initial=0) <= 127.001
    assert np.all(np.abs(result - weight) <= 1.001 * step)
    off = np.abs((result.astype(float) - weight).sum(axis=(1, 2, 3)))
    assert np.all(off <= 0.501 * step.ravel() + 1e-6)


def test_it_rounds_as_the_twin_does() -> None:
    weight = np.random.default_rng(0).normal(size=(200, 1, 3, 3)).astype(np.float32)
    expected = np.stack([twin(taps) for taps in weight.reshape(200, 9).astype(np.float64)])
    np.testing.assert_allclose(round_keeping_sums(weight).reshape(200, 9), expected, rtol=1e-6)


def test_the_largest_tap_and_empty_channels_stay() -> None:
    weight = np.random.default_rng(1).normal(size=(8, 1, 3, 3)).astype(np.float32)
    weight[3] = 0
    result = round_keeping_sums(weight)
    largest = np.abs(weight).max(axis=(1, 2, 3))
    np.testing.assert_allclose(np.abs(result).max(axis=(1, 2, 3)), largest, rtol=1e-6)
    assert not result[3].any()


@given(weights)
def test_with_one_scale_sums_are_right_too(weight: NDArray[np.float32]) -> None:
    weight[np.abs(weight) < 1e-3] = 0
    result = round_keeping_sums(weight, per_channel=False).astype(np.float64)
    step = np.abs(weight).max() / 127
    codes = result / (step or 1)
    np.testing.assert_allclose(codes, np.rint(codes), atol=1e-3)
    assert np.abs(codes).max(initial=0) <= 127.001
    off = np.abs((result - weight).sum(axis=(1, 2, 3)))
    assert np.all(off <= 0.501 * step + 1e-6)


@pytest.mark.parametrize("flavour", ["u8", "s8"])
@pytest.mark.parametrize("per_channel", [True, False])
def test_the_quantizer_stores_these_codes(
    miniature: ModelProto, frames: list[NDArray[np.uint8]], flavour: Flavour, per_channel: bool
) -> None:
    ranges = observe(miniature, frames)
    graph = Wiring(quantize(miniature, ranges, flavour, per_channel=per_channel))
    original = Wiring(miniature).value("atrous.weight")
    step = np.abs(original).max(axis=(1, 2, 3) if per_channel else None, keepdims=True) / 127
    expected = np.rint(round_keeping_sums(original, per_channel) / step)
    np.testing.assert_array_equal(graph.value("atrous.weight_quantized"), expected)


def test_kept_and_dense_weights_are_untouched(miniature: ModelProto) -> None:
    model = ModelProto()
    model.CopyFrom(miniature)
    round_depthwise(model, ["atrous/Conv"])
    before = {t.name: numpy_helper.to_array(t) for t in miniature.graph.initializer}
    after = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert changed == {"depth.weight", "shrink.weight"}
