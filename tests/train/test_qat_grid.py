"""The fake quantisers: numbers and gradients of slow twins, and the codes of the Q/DQ writer."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper
from torch import Tensor

from calibration.graphs.qdq import SMALLEST_RANGE
from calibration.repairs.rounding import round_keeping_sums as numpy_twin
from train.fake_quantise import (
    fake_quantise,
    fake_quantise_weight,
    half_precision,
    round_keeping_sums,
)


def slow_twin(values: Tensor, step: Tensor) -> Tensor:
    """The same in autograd's own steps, rounding as the identity (LSQ, equations 1 and 2)."""
    exact = (values / step).clamp(-128, 127)
    return (exact + (exact.round() - exact).detach()) * step


def loop(value: float, step: float) -> tuple[float, float, float]:
    """Result, d/dvalue and d/dstep of one number (LSQ, equations 1 to 3)."""
    exact = value / step
    if exact < -128:
        return -128 * step, 0, -128
    if exact > 127:
        return 127 * step, 0, 127
    return round(exact) * step, 1, round(exact) - exact


@pytest.fixture
def values() -> Tensor:
    """Numbers of which steps of 0.05 saturate one in five at either end."""
    return torch.randn(4, 3, 5, 7, generator=torch.Generator().manual_seed(3)) * 6


@pytest.mark.parametrize("step", [0.05, 0.3, 1.7])
def test_values_and_gradients_are_those_of_the_slow_twin(values: Tensor, step: float) -> None:
    upstream = torch.randn(values.shape, generator=torch.Generator().manual_seed(4))
    results = []
    for function in (fake_quantise, slow_twin):
        x, s = values.clone().requires_grad_(), torch.tensor(step, requires_grad=True)
        y = function(x, s)
        y.backward(upstream)  # type: ignore[no-untyped-call]
        results.append((y, x.grad, s.grad))
    for ours, twin in zip(*results, strict=True):
        torch.testing.assert_close(ours, twin, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("value", [0.0, 0.24, -0.26, 3.1, 63.4, 63.6, -64.0, -64.2, 1e6, -1e6])
def test_gradients_of_single_numbers_are_those_of_the_paper(value: float) -> None:
    x, s = (torch.tensor(number, requires_grad=True) for number in (value, 0.5))
    y = fake_quantise(x, s)
    y.backward()  # type: ignore[no-untyped-call]
    assert (y.item(), x.grad, s.grad) == pytest.approx(loop(value, 0.5), abs=1e-5)


def test_a_step_too_narrow_grows_and_one_too_wide_shrinks(values: Tensor) -> None:
    for start, sign in ((0.01, -1), (1.0, 1)):
        step = torch.tensor(start, requires_grad=True)
        loss = (fake_quantise(values, step) - values).square().mean()
        loss.backward()  # type: ignore[no-untyped-call]
        assert step.grad is not None
        assert step.grad.sign() == sign


def test_it_is_the_operator_pair_of_onnx(values: Tensor) -> None:
    step = half_precision(torch.tensor(0.0712), 1e-4)
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "step", "zero"], ["codes"]),
        helper.make_node("DequantizeLinear", ["codes", "step", "zero"], ["y"]),
    ]
    kind, shape = TensorProto.FLOAT, list(values.shape)
    graph = helper.make_graph(
        nodes, "pair",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", kind, shape)],
        [helper.make_tensor("step", kind, [], [step.item()]),
         helper.make_tensor("zero", TensorProto.INT8, [], [0])],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    ties = values.clone()
    ties[0] = (torch.randint(-140, 140, ties[0].shape) + 0.5) * step
    (expected,) = session.run(None, {"x": ties.numpy()})
    assert np.array_equal(fake_quantise(ties, step).numpy(), expected)


def test_steps_are_fp16_numbers_and_their_gradient_passes() -> None:
    step = torch.tensor([1e-9, 0.0712, 3.3], requires_grad=True)
    rounded = half_precision(step, 1.25e-4)
    assert torch.equal(rounded.detach().half().float(), rounded.detach())
    assert 1.25e-4 <= rounded[0].item() <= 1.002 * 1.25e-4
    rounded.sum().backward()  # type: ignore[no-untyped-call]
    assert step.grad is not None
    assert step.grad.tolist() == [0, 1, 1]


def written(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """What onnxruntime's quantizer makes of a weight, channel by channel, in plain loops."""
    result = np.zeros_like(weight)
    for channel, taps in enumerate(weight):
        low, high = min(taps.min(), 0), max(taps.max(), 0)
        high = max(high, low + np.float32(SMALLEST_RANGE))
        step = np.float32(max(-low, high) / 127)
        for place in np.ndindex(taps.shape):
            result[(channel, *place)] = np.rint(taps[place] / step) * step
    return result


@pytest.mark.parametrize("keep_sums", [False, True])
def test_weights_have_a_grid_per_channel(keep_sums: bool) -> None:
    weight = np.random.default_rng(0).normal(size=(40, 1, 3, 3)).astype(np.float32)
    weight *= np.logspace(-5, 1, 40, dtype=np.float32).reshape(-1, 1, 1, 1)
    weight[7] = 0
    learned = torch.from_numpy(weight).requires_grad_()
    result = fake_quantise_weight(learned, SMALLEST_RANGE, keep_sums)
    expected = written(numpy_twin(weight) if keep_sums else weight)
    np.testing.assert_allclose(result.detach().numpy(), expected, rtol=1e-6, atol=1e-9)
    result.sum().backward()  # type: ignore[no-untyped-call]
    assert learned.grad is not None
    assert torch.equal(learned.grad, torch.ones_like(learned))


def test_sum_keeping_is_that_of_the_calibration() -> None:
    weight = np.random.default_rng(1).normal(size=(500, 1, 3, 3)).astype(np.float32)
    ours = round_keeping_sums(torch.from_numpy(weight))
    np.testing.assert_allclose(ours.numpy(), numpy_twin(weight), rtol=1e-6)
