"""Atrous convolution: an explicit loop against PyTorch and ONNX, at the border and at odd sizes."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from export.atrous_oracle import Doubles, Padding, atrous_convolution

RATES = (1, 2, 3, 4, 6, 8, 9, 12, 16, 18, 24, 36)  # all that the family has, see test_atrous.py


def sizes(rate: int) -> list[tuple[int, int]]:
    """Only the centre tap inside; some taps inside at one axis; all nine inside somewhere."""
    return [(1, 1), (rate, rate + 2), (2 * rate + 3, 2 * rate + 2)]


CASES = [(rate, groups, size) for rate in RATES for groups in (1, 4) for size in sizes(rate)]


def oracle(conv: nn.Conv2d, features: Tensor) -> Doubles:
    """What the loop makes of a layer's own weights and settings."""
    above, left = (int(pad) for pad in conv.padding)
    padding: Padding = (above, left, above, left)
    return atrous_convolution(
        features.numpy(),
        conv.weight.detach().numpy(),
        None if conv.bias is None else conv.bias.detach().numpy(),
        rate=conv.dilation[0],
        stride=conv.stride[0],
        padding=padding,
        groups=conv.groups,
    )


def atrous(rate: int, groups: int) -> nn.Conv2d:
    """4 -> 4 channels, dense (1 group) or depthwise (4), padded as all atrous layers here are."""
    return nn.Conv2d(4, 4, 3, padding=rate, dilation=rate, groups=groups)


def test_the_loop_computes_what_the_formula_says() -> None:
    row = np.arange(1.0, 8.0).reshape(1, 1, 1, 7)  # 1 2 3 4 5 6 7
    kernel = np.array([1.0, 10.0, 100.0]).reshape(1, 1, 1, 3)
    same = atrous_convolution(row, kernel, rate=2, padding=(0, 2, 0, 2))
    assert same.ravel().tolist() == [310, 420, 531, 642, 753, 64, 75]
    halved = atrous_convolution(row, kernel, np.array([0.5]), rate=2, stride=2)
    assert halved.ravel().tolist() == [531.5, 753.5]


def test_a_kernel_wider_than_the_map_is_refused() -> None:
    with pytest.raises(ValueError, match=r"spans \[1, 9\]"):
        atrous_convolution(np.zeros((1, 1, 1, 8)), np.zeros((1, 1, 1, 3)), rate=4)


@pytest.mark.parametrize(("rate", "groups", "size"), CASES, ids=str)
def test_pytorch_equals_the_loop(rate: int, groups: int, size: tuple[int, int]) -> None:
    torch.manual_seed(rate)
    conv = atrous(rate, groups).double()
    features = torch.randn(2, 4, *size, dtype=torch.float64)
    np.testing.assert_allclose(conv(features).detach(), oracle(conv, features), atol=1e-12)


@st.composite
def layers(draw: st.DrawFn) -> tuple[nn.Conv2d, tuple[int, int]]:
    """Any grouped, strided, padded, dilated convolution and a size that it fits."""
    kernel, rate = draw(st.sampled_from([1, 2, 3, 5])), draw(st.integers(1, 7))
    groups, padding = draw(st.integers(1, 3)), draw(st.integers(0, 9))
    inputs, outputs = (groups * draw(st.integers(1, 3)) for _ in range(2))
    least = max(1, kernel + (kernel - 1) * (rate - 1) - 2 * padding)
    size = draw(st.tuples(*[st.integers(least, least + 9)] * 2))
    conv = nn.Conv2d(
        inputs, outputs, kernel, draw(st.integers(1, 3)), padding, rate, groups,
        bias=draw(st.booleans()), dtype=torch.float64,
    )  # fmt: skip
    return conv, size


@settings(max_examples=60, deadline=None)
@given(layers())
def test_any_convolution_equals_the_loop(case: tuple[nn.Conv2d, tuple[int, int]]) -> None:
    conv, size = case
    features = torch.randn(1, conv.in_channels, *size, dtype=torch.float64)
    np.testing.assert_allclose(conv(features).detach(), oracle(conv, features), atol=1e-12)


class AllRates(nn.Module):
    """Each rate, dense and depthwise, over its own corner of one input: one export serves all.

    All nine taps land inside somewhere, and at the border some do not.
    """

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(atrous(rate, groups) for rate in RATES for groups in (1, 4))
        self.sizes = [sizes(rate)[-1] for rate in RATES for _ in (1, 4)]

    def forward(self, features: Tensor) -> list[Tensor]:
        corners = [features[:, :, :height, :width] for height, width in self.sizes]
        return [conv(corner) for conv, corner in zip(self.convs, corners, strict=True)]


def test_onnx_equals_the_loop() -> None:
    torch.manual_seed(0)
    model = AllRates().eval()
    features = torch.randn(1, 4, 75, 74)
    program = torch.onnx.export(model, (features,), dynamo=True, opset_version=19, verbose=False)
    assert program is not None
    graph = program.model_proto.SerializeToString()
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    outputs = session.run(None, {session.get_inputs()[0].name: features.numpy()})
    for conv, size, output in zip(model.convs, model.sizes, outputs, strict=True):
        assert isinstance(conv, nn.Conv2d)
        corner = features[:, :, : size[0], : size[1]]
        np.testing.assert_allclose(output, oracle(conv, corner), atol=2e-6, err_msg=str(conv))
