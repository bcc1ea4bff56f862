"""Equalisation: the float function stays, and one scale per weight suits all channels after it."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper

from calibration.graphs.execution import load
from calibration.graphs.placement import Flavour
from calibration.graphs.qdq import quantize
from calibration.graphs.wiring import Wiring
from calibration.ranges.channels import channel_spans
from calibration.ranges.observe import observe
from calibration.repairs.equalise import LARGEST, MARGIN, apply_factors, find_factors
from calibration.sqnr import Sqnr
from engines.failures import Refused

Frames = list[NDArray[np.uint8]]
Chain = Callable[[str], ModelProto]
CEILING = 6.0


def logits(model: ModelProto, frames: Frames) -> NDArray[np.float32]:
    session = load(model)
    return np.stack([session.run(None, {"frames": frame[None]})[0] for frame in frames])


def scale(model: ModelProto, name: str, factors: NDArray[np.float64]) -> None:
    """Multiply a constant along its first axis."""
    tensor = Wiring(model).constants[name]
    value = numpy_helper.to_array(tensor)
    value = value * factors.reshape(-1, *[1] * (value.ndim - 1))
    tensor.CopyFrom(numpy_helper.from_array(value.astype(np.float32), name))


def badly_scaled(model: ModelProto) -> ModelProto:
    """The same function of a Relu chain, each second channel a hundred times the other ones."""
    result = copy.deepcopy(model)
    factors = np.where(np.arange(16) % 2, 10.0, 0.1)
    for name, by in (("stem.weight", 1), ("stem.bias", 1), ("depth.weight", -1)):
        scale(result, name, factors**by)
    return result


def equalised(model: ModelProto, frames: Frames) -> ModelProto:
    result = copy.deepcopy(model)
    apply_factors(result, find_factors(model, channel_spans(model, frames)))
    return result


def decibel(model: ModelProto, frames: Frames, flavour: Flavour, per_channel: bool) -> float:
    """SQNR of the logits of a float graph's Q/DQ copy."""
    int8 = quantize(model, observe(model, frames), flavour, per_channel=per_channel)
    sqnr = Sqnr()
    sqnr.add(logits(model, frames), logits(int8, frames))
    return sqnr.decibel


@pytest.mark.parametrize("activation", ["relu", "relu6"])
def test_the_float_function_stays(chain: Chain, frames: Frames, activation: str) -> None:
    model = chain(activation)
    after = equalised(model, frames)
    assert not np.array_equal(
        Wiring(after).value("depth.weight"), Wiring(model).value("depth.weight")
    )
    np.testing.assert_allclose(logits(after, frames), logits(model, frames), rtol=1e-4, atol=1e-5)


def test_the_float_function_of_a_whole_network_stays(miniature: ModelProto, frames: Frames) -> None:
    after = equalised(miniature, frames)
    np.testing.assert_allclose(
        logits(after, frames), logits(miniature, frames), rtol=1e-4, atol=1e-4
    )


def test_a_relu_network_stays_on_frames_never_seen(chain: Chain, frames: Frames) -> None:
    model = badly_scaled(chain("relu"))
    after = equalised(model, frames[:1])
    strange = [255 - frame[::-1] for frame in frames]
    np.testing.assert_allclose(logits(after, strange), logits(model, strange), rtol=1e-4, atol=1e-4)


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(arrays(np.float64, 32, elements=st.floats(0.01, 100)))
def test_any_factors_keep_the_function_of_a_relu_network(
    chain: Chain, frames: Frames, factors: NDArray[np.float64]
) -> None:
    model = chain("relu")
    after = copy.deepcopy(model)
    apply_factors(after, {"stem/Conv": factors[:16].tolist(), "depth/Conv": factors[16:].tolist()})
    np.testing.assert_allclose(
        logits(after, frames[:2]), logits(model, frames[:2]), rtol=1e-3, atol=1e-4
    )
    stem, was = (Wiring(m).value("stem.weight").astype(np.float64) for m in (after, model))
    np.testing.assert_allclose(stem * factors[:16, None, None, None], was, rtol=1e-5)


@pytest.mark.parametrize("flavour", ["u8", "s8"])
def test_it_undoes_bad_scaling(chain: Chain, frames: Frames, flavour: Flavour) -> None:
    good = chain("relu")
    bad = badly_scaled(good)
    before = decibel(bad, frames, flavour, per_channel=False)
    after = decibel(equalised(bad, frames), frames, flavour, per_channel=False)
    assert before < 15
    assert after > before + 15
    assert after > decibel(good, frames, flavour, per_channel=False) - 3


@pytest.mark.parametrize("flavour", ["u8", "s8"])
@pytest.mark.parametrize("weights", [1e-3, 1e-8, 1e-20, 0])
def test_a_dead_channel_with_a_bias_does_not_stretch_the_range_of_all(
    chain: Chain, frames: Frames, weights: float, flavour: Flavour
) -> None:
    model = with_dead_channel(chain("relu"), weights)
    before = decibel(model, frames, flavour, per_channel=True)
    assert before > 28
    assert decibel(equalised(model, frames), frames, flavour, per_channel=True) > before - 3


def with_dead_channel(model: ModelProto, weights: float) -> ModelProto:
    """A channel of the first convolution that gives its bias, and next to nothing else."""
    by = np.where(np.arange(16) == 3, weights, 1.0)
    scale(model, "stem.weight", by)
    bias = Wiring(model).constants["stem.bias"]
    value = np.where(np.arange(16) == 3, 0.5, numpy_helper.to_array(bias))
    bias.CopyFrom(numpy_helper.from_array(value.astype(np.float32), bias.name))
    return model


def test_makers_and_readers_get_the_same_largest_weights(chain: Chain, frames: Frames) -> None:
    wiring = Wiring(equalised(badly_scaled(chain("relu")), frames))
    made = np.abs(wiring.value("depth.weight")).max(axis=(1, 2, 3))
    read = np.abs(wiring.value("classifier.weight")).max(axis=(0, 2, 3))
    np.testing.assert_allclose(made, read, rtol=1e-5)  # of the last link; others shift once more


def test_no_channel_crosses_a_ceiling(miniature: ModelProto, frames: Frames) -> None:
    before = channel_spans(miniature, frames)
    factors = find_factors(miniature, before)
    after = channel_spans(equalised(miniature, frames), frames)
    limit = CEILING * (1 - MARGIN)
    free = 0
    for name in ("stem/Conv", "depth/Conv", "wide/Conv", "shrink/Conv", "expand/Conv"):
        factor = np.array(factors[name])
        near = before[name][1] >= limit
        assert np.all(factor[near] == 1)
        assert np.all(after[name][1][~near] <= limit * 1.0001)
        assert np.all(factor >= 1 / LARGEST)
        free += int(np.count_nonzero(factor != 1))
    assert free > 50


def test_tensors_that_others_read_have_no_factors(miniature: ModelProto, frames: Frames) -> None:
    heads = set(find_factors(miniature, channel_spans(miniature, frames)))
    assert heads == {f"{name}/Conv" for name in ("stem", "depth", "wide", "shrink", "expand")} | {
        "atrous/Conv",
        "refine/Conv",
    }


@pytest.mark.parametrize(
    ("factors", "words"),
    [
        ({"stem/Typo": [1.0]}, "no channels"),
        ({"stem/Conv": [1.0] * 15}, "15 calibrated factors for stem/Conv, which has 16"),
        ({"narrow/Conv": [1.0] * 24}, "others than one convolution"),
    ],
)
def test_factors_of_another_network_are_refused(
    miniature: ModelProto, factors: dict[str, list[float]], words: str
) -> None:
    with pytest.raises(Refused, match=words):
        apply_factors(copy.deepcopy(miniature), factors)
