"""What the papers say of atrous convolution, held to be true of our layers and trunks."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from export.atrous_oracle import atrous_convolution, effective_kernel
from train.backbones import build_trunk
from train.family import ARCHITECTURES, build_model
from train.layers import AtrousSeparableConv

RATES = (1, 2, 3, 4, 6, 8, 9, 12, 16, 18, 24, 36)


@pytest.mark.parametrize("size", [(33, 33), (20, 45)], ids=str)
@pytest.mark.parametrize("rate", RATES)
def test_rate_r_is_a_plain_convolution_on_the_r_subsampled_grids(
    rate: int, size: tuple[int, int]
) -> None:
    """v2, section 3.1; also why `space_to_batch` gives the right result."""
    torch.manual_seed(rate)
    features = torch.randn(1, 3, *size, dtype=torch.float64)
    weight = torch.randn(5, 3, 3, 3, dtype=torch.float64)
    atrous = functional.conv2d(features, weight, padding=rate, dilation=rate)
    for row, column in np.ndindex(min(rate, size[0]), min(rate, size[1])):
        grid = features[:, :, row::rate, column::rate]
        plain = functional.conv2d(grid, weight, padding=1)
        torch.testing.assert_close(atrous[:, :, row::rate, column::rate], plain)


@pytest.mark.parametrize("rate", RATES)
def test_rate_r_is_a_plain_convolution_with_holes_in_its_kernel(rate: int) -> None:
    torch.manual_seed(rate)
    features = torch.randn(1, 3, 21, 34, dtype=torch.float64)
    weight = torch.randn(5, 3, 3, 3, dtype=torch.float64)
    holed = torch.zeros(5, 3, *[effective_kernel(3, rate)] * 2, dtype=torch.float64)
    holed[:, :, ::rate, ::rate] = weight
    plain = functional.conv2d(features, holed, padding=rate)
    torch.testing.assert_close(
        functional.conv2d(features, weight, padding=rate, dilation=rate), plain
    )


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_field_of_view_by_the_pixels_that_move_one_output(kernel: int, rate: int) -> None:
    """k_eff = k + (k - 1)(r - 1), with k taps along each axis whatever the rate."""
    span = kernel + (kernel - 1) * (rate - 1)
    assert effective_kernel(kernel, rate) == span
    rows, columns = seen(nn.Conv2d(1, 1, kernel, dilation=rate), span + 4)
    assert (extent(rows), len(rows)) == (extent(columns), len(columns)) == (span, kernel)


def test_stacked_fields_of_view_add_up() -> None:
    rates = (1, 2, 4)  # multi-grid: 1 + 2 + 4 + 8 pixels, and no hole between them
    stack = nn.Sequential(*(nn.Conv2d(1, 1, 3, dilation=rate) for rate in rates))
    rows, _ = seen(stack, 21)
    assert extent(rows) == len(rows) == 1 + sum(effective_kernel(3, rate) - 1 for rate in rates)


def seen(network: nn.Module, size: int) -> tuple[Tensor, Tensor]:
    """Rows and columns of a square image whose pixels move the first output."""
    torch.manual_seed(0)
    for weight in network.parameters():
        nn.init.uniform_(weight, 0.5, 1)  # nothing may cancel
    image = torch.zeros(1, 1, size, size, requires_grad=True)
    network(image)[0, 0, 0, 0].backward()
    assert image.grad is not None
    moved = image.grad[0, 0] != 0
    return moved.any(dim=1).nonzero(), moved.any(dim=0).nonzero()


def extent(positions: Tensor) -> int:
    return int(positions.max() - positions.min()) + 1


@pytest.mark.parametrize("rate", RATES)
def test_separable_is_depthwise_then_pointwise(rate: int) -> None:
    """Their product is a dense kernel w[o, c] = pointwise[o, c] x depthwise[c] (v3+, 3.1)."""
    torch.manual_seed(rate)
    block = AtrousSeparableConv(6, 9, rate).double().eval()
    features = torch.randn(2, 6, 17, 22, dtype=torch.float64)
    kernel = block.pointwise.weight * block.depthwise.weight.transpose(0, 1)
    assert kernel.shape == (9, 6, 3, 3)
    dense = functional.conv2d(features, kernel, padding=rate, dilation=rate)
    torch.testing.assert_close(block.pointwise(block.depthwise(features)), dense)
    between = block.depthwise_relu(block.depthwise_bn(block.depthwise(features)))
    behind = block.pointwise_relu(block.pointwise_bn(block.pointwise(between)))
    torch.testing.assert_close(block(features), behind)


def original(features: Tensor, weight: Tensor, rate: int) -> Tensor:
    """Stride 2 as `fixed_padding` of the official xception.py has it, by the explicit loop."""
    total = effective_kernel(weight.shape[2], rate) - 1
    begin = total // 2
    padding = (begin, begin, total - begin, total - begin)
    return torch.from_numpy(
        atrous_convolution(
            features.numpy(), weight.numpy(), rate=rate, stride=2, padding=padding
        )
    )  # fmt: skip


@pytest.mark.parametrize("size", [(16, 17), (9, 12)], ids=str)
@pytest.mark.parametrize("rate", [1, 2, 3])
@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
def test_stride_2_pads_explicitly_as_the_original(
    kernel: int, rate: int, size: tuple[int, int]
) -> None:
    """PyTorch's symmetric padding is the same for odd kernels at any size, and a strided layer is
    then the plain one with every second position kept: what makes stride exchangeable for rate."""
    torch.manual_seed(kernel)
    features = torch.randn(1, 2, *size, dtype=torch.float64)
    weight = torch.randn(3, 2, kernel, kernel, dtype=torch.float64)
    padding = (effective_kernel(kernel, rate) - 1) // 2
    ours = functional.conv2d(features, weight, stride=2, padding=padding, dilation=rate)
    torch.testing.assert_close(ours, original(features, weight, rate))
    unstrided = functional.conv2d(features, weight, padding=padding, dilation=rate)
    torch.testing.assert_close(ours, unstrided[:, :, ::2, ::2])


def test_an_even_kernel_gets_its_odd_zero_at_the_end() -> None:
    torch.manual_seed(0)
    features = torch.randn(1, 2, 9, 12, dtype=torch.float64)
    weight = torch.randn(3, 2, 2, 2, dtype=torch.float64)
    padded = functional.conv2d(functional.pad(features, (0, 1, 0, 1)), weight, stride=2)
    torch.testing.assert_close(original(features, weight, 1), padded)


@pytest.mark.parametrize(("size", "agrees"), [(17, True), (16, False)])
def test_tensorflows_same_padding_equals_ours_at_odd_sizes_only(size: int, agrees: bool) -> None:
    """SAME pads what the last position needs: (1, 1) at odd sizes, (0, 1) at even ones. So weights
    trained with it (MobileNetV2 of the model zoo) are at home at sizes 32 k + 1."""
    torch.manual_seed(0)
    features = torch.randn(1, 2, size, size, dtype=torch.float64)
    weight = torch.randn(3, 2, 3, 3, dtype=torch.float64)
    total = (-(-size // 2) - 1) * 2 + 3 - size
    begin, end = total // 2, total - total // 2
    same = functional.conv2d(functional.pad(features, (begin, end, begin, end)), weight, stride=2)
    ours = functional.conv2d(features, weight, stride=2, padding=1)
    assert torch.allclose(same, ours) == agrees


def give_every_branch_a_say(network: nn.Module) -> None:
    """timm starts residual branches at a scale of 0, where a wrong rate would go unseen."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)


@pytest.mark.parametrize(
    ("name", "multi_grid", "strides"),
    [
        ("mobilenetv2", (), (32, 16, 8)),
        ("xception71", (), (16, 8)),
        ("resnet50", (), (32, 16, 8)),
        ("resnet50", (1, 2, 4), (16, 8)),
    ],
)
def test_a_finer_trunk_holds_the_coarse_features_at_every_second_position(
    name: str, multi_grid: tuple[int, ...], strides: tuple[int, ...]
) -> None:
    """v3, section 3.1: with the same weights, everywhere, border included. From a position of the
    coarse grid the atrous layers see the coarse grid alone. (MobileNetV3 is the exception: its
    squeeze-and-excitation averages over the whole finer map.)"""
    torch.manual_seed(0)
    build = partial(build_trunk, name, multi_grid=multi_grid)
    trunks = [build(stride).network.double().eval() for stride in strides]
    give_every_branch_a_say(trunks[0])
    for finer in trunks[1:]:
        finer.load_state_dict(trunks[0].state_dict())
    image = torch.randn(1, 3, 33, 50, dtype=torch.float64)
    with torch.inference_mode():
        features = [network(image) for network in trunks]
    for stride, (_, last) in zip(strides, features, strict=True):
        assert last.shape[2:] == (-(-33 // stride), -(-50 // stride))
    for (low_level, coarse), (same_low_level, fine) in pairwise(features):
        assert torch.equal(same_low_level, low_level)
        assert (fine[:, :, ::2, ::2] - coarse).abs().max() <= 1e-12 * coarse.std()
        assert (fine[:, :, 1] - fine[:, :, 0]).abs().max() > 1e-3 * coarse.std()  # is finer


def test_atrous_and_strided_layers_of_the_family_pad_as_the_original() -> None:
    """So the border of each is that of the tests above; and their rates are those tested."""
    with torch.device("meta"):
        networks = [
            build_model(name, 3, stride)
            for name, member in ARCHITECTURES.items()
            for stride in {min(member.strides), max(member.strides)}
        ]
    modules = [module for network in networks for module in network.modules()]
    convs = [module for module in modules if isinstance(module, nn.Conv2d)]
    for conv in convs:
        span = effective_kernel(conv.kernel_size[0], conv.dilation[0])
        assert conv.padding == ((span - 1) // 2,) * 2, conv
    assert {conv.dilation[0] for conv in convs} <= set(RATES)
