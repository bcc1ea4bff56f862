"""Where strides became rates: which unit runs at which, as the official code has it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from train.backbones import build_trunk
from train.family import build_model
from train.vgg import Vgg16


def rates(network: nn.Module, within: str) -> list[int]:
    """The rates of all 3x3 and 5x5 convolutions in the module `within`, in order."""
    convolutions = network.get_submodule(within).modules()
    return [
        layer.dilation[0]
        for layer in convolutions
        if isinstance(layer, nn.Conv2d) and layer.kernel_size[0] > 1
    ]


def trunk(name: str, stride: int, **options: Any) -> nn.Module:
    with torch.device("meta"):
        return build_trunk(name, stride, **options).network


@pytest.mark.parametrize(
    ("stride", "stage_3", "stage_4", "stage_5", "stage_6"),
    # inverted residuals of 64, 96, 160, 320 channels: layers 8-11, 12-14, 15-17, 18
    [
        (32, [1, 1, 1, 1], [1, 1, 1], [1, 1, 1], [1]),
        (16, [1, 1, 1, 1], [1, 1, 1], [1, 2, 2], [2]),
        (8, [1, 2, 2, 2], [2, 2, 2], [2, 4, 4], [4]),
    ],
)
def test_mobilenetv2_keeps_the_old_rate_in_the_unit_that_loses_its_stride(
    stride: int, stage_3: list[int], stage_4: list[int], stage_5: list[int], stage_6: list[int]
) -> None:
    network = trunk("mobilenetv2", stride)
    found = [rates(network, f"blocks.{stage}") for stage in (3, 4, 5, 6)]
    assert found == [stage_3, stage_4, stage_5, stage_6]


@pytest.mark.parametrize(("name", "middle"), [("xception65", 16), ("xception_slim", 5)])
def test_xception_keeps_the_old_rate_in_the_block_that_loses_its_stride(
    name: str, middle: int
) -> None:
    blocks = [f"blocks_{index}" for index in range(3 + middle + 2)]
    coarse, fine = trunk(name, 16), trunk(name, 8)
    assert [rates(coarse, block)[0] for block in blocks] == [1] * (3 + middle) + [1, 2]
    assert [rates(fine, block)[0] for block in blocks] == [1, 1, 1] + [2] * middle + [2, 4]


@pytest.mark.parametrize(
    ("stride", "multi_grid", "layer3", "layer4"),
    [
        (32, (1, 2, 4), [1, 1], [1, 2, 4]),
        (16, (1, 2, 4), [1, 1], [2, 4, 8]),
        (8, (1, 2, 4), [1, 2], [4, 8, 16]),
        (16, (), [1, 1], [1, 2, 2]),
        (8, (), [1, 2], [2, 4, 4]),
    ],
)
def test_resnet_runs_its_last_block_at_the_multi_grid_alone(
    stride: int, multi_grid: tuple[int, ...], layer3: list[int], layer4: list[int]
) -> None:
    network = trunk("resnet101", stride, multi_grid=multi_grid)
    assert set(rates(network, "layer2")) == {1}
    assert rates(network, "layer3") == layer3[:1] + layer3[1:] * 22
    assert rates(network, "layer4") == layer4


def test_members_choose_the_multi_grid_of_their_paper() -> None:
    grids = {
        "deeplabv2_resnet101": [2, 4, 4],
        "deeplabv3_resnet101": [4, 8, 16],
        "deeplabv3plus_resnet101": [4, 8, 16],
        "deeplabv3plus_resnet101,no-multi-grid": [2, 4, 4],
    }
    with torch.device("meta"):
        for name, layer4 in grids.items():
            assert rates(build_model(name, 3, 8).backbone, "layer4") == layer4


def test_vgg_trades_two_pools_for_rate_2() -> None:
    with torch.device("meta"):
        layers = Vgg16().features
    pools = [layer for layer in layers.children() if isinstance(layer, nn.MaxPool2d)]
    assert [(pool.kernel_size, pool.stride, pool.padding) for pool in pools] == [
        (3, stride, 1) for stride in (2, 2, 2, 1, 1)
    ]
    convolutions = [layer for layer in layers.children() if isinstance(layer, nn.Conv2d)]
    assert [layer.dilation[0] for layer in convolutions] == [1] * 10 + [2] * 3
    assert [layer.padding for layer in convolutions] == [layer.dilation for layer in convolutions]


def test_the_papers_crop_of_321_becomes_41_on_vgg() -> None:
    with torch.device("meta"):
        (features,) = Vgg16()(torch.zeros(1, 3, 321, 321))
    assert features.shape == (1, 512, 41, 41)


def test_vgg_weights_of_timm_fit_by_name() -> None:
    import timm

    with torch.device("meta"):
        theirs: Any = timm.create_model("vgg16")
        ours = Vgg16().features.state_dict()
    shapes = {key: value.shape for key, value in theirs.features.state_dict().items()}
    assert {key: value.shape for key, value in ours.items()} == shapes
