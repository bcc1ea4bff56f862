"""The trunks of the family: timm's networks with their strides turned into rates, and VGG-16.

How a stride turns into a rate follows the official code for every timm network: where the next
stride would pass the output stride, that unit keeps the old rate and runs at stride 1, and only
the units after it see the larger rate. In ResNets, where the paper speaks of whole blocks, all
units of a block run at the block's rate times the multi-grid's (v3, section 3.2).

Low-level features for the decoder stand at stride 4. The official code takes them from other
tensors of the same stride in places: MobileNetV2 after a depthwise convolution (144 channels; here
the 24 of the bottleneck), Xception before a ReLU (here after it), ResNet within the first block
(here at its end).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from engines.failures import UsageError
from train.vgg import CHANNELS, Vgg16
from train.xception import slim_blocks

# Widths for which timm has a network; the first is the default.
WIDTHS = {"mobilenetv2": (1.0, 0.35, 0.5, 0.75, 1.4), "mobilenetv3": (1.0, 0.75)}
FIXED = {
    "xception41": "xception41",
    "xception65": "xception65",
    "xception71": "xception71",
    "xception_slim": "xception41",
    "resnet50": "resnet50",
    "resnet101": "resnet101",
}
MULTI_GRID = (1, 2, 4)  # v3, table 3


@dataclass(frozen=True)
class Trunk:
    """A network from images to [low-level features at stride 4,] last features; its channels.

    `normalised` tells whether it has batch norm.
    """

    network: nn.Module
    channels: tuple[int, ...]
    normalised: bool = True


def build_trunk(
    name: str,
    output_stride: int,
    width: float = 1.0,
    pretrained: bool = False,
    beta: bool = False,
    multi_grid: Sequence[int] = MULTI_GRID,
) -> Trunk:
    """Build a trunk by name; `pretrained` downloads ImageNet weights from timm's hub.

    `beta` is the ResNet whose 7x7 stem is three 3x3 convolutions, as v3+'s authors use it;
    `multi_grid` are the unit rates of a ResNet's last block.
    """
    if name == "vgg16":
        return Trunk(Vgg16(pretrained), (CHANNELS,), normalised=False)
    import timm

    if name == "xception_slim" and pretrained:
        raise UsageError("xception_slim is this project's own: there are no ImageNet weights of it")
    blocks: dict[str, Any] = {"block_cfg": slim_blocks()} if name == "xception_slim" else {}
    network: Any = timm.create_model(
        timm_name(name, width, beta),
        features_only=True,
        out_indices=(1, 4),
        output_stride=output_stride,
        pretrained=pretrained,
        **blocks,
    )
    if name.startswith("resnet"):
        set_rates(network, output_stride, multi_grid)
    return Trunk(network, tuple(network.feature_info.channels()))


def timm_name(name: str, width: float = 1.0, beta: bool = False) -> str:
    """timm's name of a trunk."""
    percent = f"{100 * width:03.0f}"
    if name in FIXED:
        return FIXED[name] + ("s" if beta else "")
    return f"mobilenetv3_large_{percent}" if name == "mobilenetv3" else f"{name}_{percent}"


def set_rates(resnet: Any, output_stride: int, multi_grid: Sequence[int]) -> None:
    """Give all units of a dilated ResNet's blocks the block's rate, in place.

    timm leaves the first unit of a block at the rate before it; v2 and v3 have one rate per block,
    and in the last one it is multiplied by the multi-grid (2, 4, 8 at output stride 16).
    """
    for stage, grid in (("layer3", (1,)), ("layer4", multi_grid)):
        nominal = {"layer3": 16, "layer4": 32}[stage]
        rate = max(1, nominal // output_stride)
        for index, unit in enumerate(resnet[stage]):
            unit_rate = rate * grid[index % len(grid)]
            unit.conv2.dilation = unit.conv2.padding = (unit_rate, unit_rate)
