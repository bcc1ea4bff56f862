"""The trunks of the family: timm's networks with their strides turned into rates, and VGG-16.

How a stride turns into a rate follows the official code (and timm does the same): the unit whose
stride would pass the output stride runs at stride 1 and still at the old rate; only the units after
it see the larger rate. So ImageNet's weights compute the same features on a finer grid, and those
trained at 16 do at 8. (The ResNet of v2's authors has its strides in 1x1 convolutions, so there the
larger rate begins one unit earlier.) Only the multi-grid departs from it: all units of a ResNet's
last block run at the block's rate times the multi-grid's (v3, section 3.2).

Low-level features for the decoder stand at stride 4. In three trunks the official code takes
another tensor of that stride: of MobileNetV2 the 144 channels within a bottleneck (here the 24 at
its end), of Xception the map before a ReLU (here after it), of ResNet a unit of the first block
before its end (here its end, as the official networks have the next stride in the last unit).
The separable convolutions inside timm's Xception and MobileNets are timm's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from train.vgg import CHANNELS, Vgg16
from train.xception import slim_xception

MULTI_GRID = (1, 2, 4)  # v3, table 5


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
    multi_grid: Sequence[int] = (),
) -> Trunk:
    """Build a trunk by name; `pretrained` downloads ImageNet weights from timm's hub.

    `beta` is the ResNet whose 7x7 stem is three 3x3 convolutions, as the authors' own from v3 on;
    `multi_grid` are the unit rates of a ResNet's last block; without them it keeps timm's.
    """
    if name == "vgg16":
        return Trunk(Vgg16(pretrained), (CHANNELS,), normalised=False)
    if name == "xception_slim":
        network = slim_xception(output_stride)
    else:
        import timm

        xception = name.startswith("xception")
        network = timm.create_model(
            timm_name(name, width, beta),
            features_only=True,
            out_indices=(1, 4),
            output_stride=32 if xception else output_stride,
            pretrained=pretrained,
        )
        if xception:
            turn_strides(network, output_stride)
    if name.startswith("resnet") and multi_grid:
        set_rates(network, output_stride, multi_grid)
    return Trunk(network, tuple(network.feature_info.channels()))


def timm_name(name: str, width: float, beta: bool) -> str:
    """timm's name of a trunk."""
    percent = f"{100 * width:03.0f}"
    names = {
        "mobilenetv2": f"mobilenetv2_{percent}",
        "mobilenetv3": f"mobilenetv3_large_{percent}",
    }
    return names.get(name, name) + ("s" if beta else "")


def turn_strides(xception: Any, output_stride: int) -> None:
    """Turn the strides of an aligned Xception beyond `output_stride` into rates, in place.

    timm does so as it builds, and then drops the convolution of a shortcut that only the stride
    had called for (Xception-71, fifth block): weights of output stride 16 would not fit 8.
    """
    stride, rate = 2, 1  # behind the stem
    for block in (module for name, module in xception.items() if name.startswith("blocks")):
        depthwise = [getattr(block.stack, f"conv{number}").conv_dw for number in (1, 2, 3)]
        for conv in depthwise:
            conv.dilation = conv.padding = (rate, rate)
        own = depthwise[-1].stride[0]
        if stride * own <= output_stride:
            stride *= own
        else:
            depthwise[-1].stride = block.shortcut.conv.stride = (1, 1)
            rate *= own


def set_rates(resnet: Any, output_stride: int, multi_grid: Sequence[int]) -> None:
    """Give the units of a ResNet's last block their rates, in place.

    2, 4, 8 at output stride 16 with the multi-grid (1, 2, 4); double at 8. The block before it
    stays as timm has it: its first unit has the stride in its 3x3 convolution, which at stride 1
    keeps the old rate, so that weights trained at 16 compute the same features at 8.
    """
    block_rate = max(1, 32 // output_stride)
    for unit, grid in zip(resnet["layer4"], multi_grid, strict=True):
        rate = block_rate * grid
        unit.conv2.dilation = unit.conv2.padding = (rate, rate)
