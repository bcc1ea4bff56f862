"""Every member of the family keeps one contract, whatever its head, trunk, stride and size."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn

from engines.failures import UsageError
from train.family import ARCHITECTURES, Architecture, build_model
from train.multiply_adds import count

CLASSES = 5
HEAVY = ("vgg16", "resnet", "xception4", "xception6", "xception7")
# every head but v1's and every kind of light trunk by default
MEMBERS = [
    pytest.param(name, marks=[pytest.mark.slow] * any(trunk in name for trunk in HEAVY))
    for name in ARCHITECTURES
]


def without_arithmetic(name: str, classes: int = CLASSES, stride: int | None = None) -> nn.Module:
    with torch.device("meta"):
        return build_model(name, classes, stride).eval()


def logits_size(architecture: Architecture, stride: int, size: tuple[int, int]) -> tuple[int, int]:
    step = architecture.logits_stride(stride)
    return -(-size[0] // step), -(-size[1] // step)


@pytest.mark.parametrize("size", [(64, 48), (33, 49)])
@pytest.mark.parametrize("name", MEMBERS)
def test_every_weight_learns_at_even_and_odd_sizes(name: str, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    architecture = Architecture.parse(name)
    network = build_model(name, CLASSES)
    logits = network(torch.randn(2, 3, *size))
    expected = logits_size(architecture, architecture.output_stride(), size)
    assert logits.shape == (2, CLASSES, *expected)
    logits.square().mean().backward()
    for parameter, value in network.named_parameters():
        assert value.grad is not None, parameter
        assert value.grad.isfinite().all(), parameter


@pytest.mark.parametrize("name", MEMBERS)
def test_a_frame_does_not_see_its_neighbour_in_the_batch(name: str) -> None:
    torch.manual_seed(0)
    network = build_model(name, CLASSES).eval()
    images = torch.randn(2, 3, 33, 49)
    with torch.inference_mode():
        both = network(images)
        alone = torch.cat([network(image[None]) for image in images])
    torch.testing.assert_close(both, alone, rtol=1e-4, atol=1e-5 * float(both.abs().max()))
    assert not torch.allclose(both[0], both[1])


@pytest.mark.parametrize("name", MEMBERS)
def test_weights_fit_every_output_stride_and_logits_have_its_size(name: str) -> None:
    architecture = Architecture.parse(name)
    shapes = []
    for stride in architecture.member.strides:
        network = without_arithmetic(name, stride=stride)
        logits = network(torch.zeros(1, 3, 97, 130, device="meta"))
        assert logits.shape == (1, CLASSES, *logits_size(architecture, stride, (97, 130)))
        shapes.append({key: value.shape for key, value in network.state_dict().items()})
    assert all(other == shapes[0] for other in shapes)


def combinations() -> list[tuple[str, int]]:
    """Every member with every choice of its modifiers at every stride."""
    return [
        (",".join((name, *chosen)), stride)
        for name, member in ARCHITECTURES.items()
        for chosen in itertools.product(*member.choices)
        for stride in member.strides
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("text", "stride"), combinations())
def test_the_full_cross_of_modifiers_and_strides_builds_and_runs(text: str, stride: int) -> None:
    architecture = Architecture.parse(text)
    assert Architecture.parse(str(architecture)) == architecture
    images = torch.zeros(1, 3, 65, 70, device="meta")
    logits: Tensor = without_arithmetic(text, stride=stride)(images)
    assert logits.shape == (1, CLASSES, *logits_size(architecture, stride, (65, 70)))


@pytest.mark.parametrize("name", MEMBERS)
def test_trunk_and_head_share_nothing_and_are_all(name: str) -> None:
    with torch.device("meta"):
        network = build_model(name, CLASSES)
    trunk = {id(parameter) for parameter in network.backbone.parameters()}
    head = {id(parameter) for parameter in network.head_parameters()}
    assert trunk
    assert head
    assert not trunk & head
    assert trunk | head == {id(parameter) for parameter in network.parameters()}


MILLIONS = {  # 21 classes
    "deeplabv1_vgg16": 20.505,  # published 20.5
    "deeplabv2_vgg16,largefov": 20.505,
    "deeplabv2_vgg16": 37.878,  # four branches of fc6, fc7, fc8
    "deeplabv3_resnet101,beta": 58.164,  # published 58.16
    "deeplabv3_mobilenetv2": 4.524,  # published 4.52
    "deeplabv3_mobilenetv2,no-atrous": 2.114,  # the model zoo's
    "deeplabv3plus_resnet101,beta,dense": 59.468,
    "deeplabv3plus_mobilenetv2": 2.720,
    "deeplabv3plus_xception41": 28.109,
    "deeplabv3plus_xception65": 41.055,
    "deeplabv3plus_xception71": 43.478,
}


@pytest.mark.parametrize("name", MILLIONS)
def test_parameters_are_those_of_the_official_networks(name: str) -> None:
    network = without_arithmetic(name, classes=21)
    found = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    assert found == pytest.approx(MILLIONS[name], abs=5e-4)


def test_the_slim_xception_is_small_and_quick_enough_to_bundle() -> None:
    slim = without_arithmetic("deeplabv3plus_xception_slim", classes=11)
    mobile = without_arithmetic("deeplabv3plus_mobilenetv2", classes=11)
    assert 2 * sum(value.numel() for value in slim.state_dict().values()) < 8e6  # FP16 bytes
    assert count(slim, (360, 480)).plain < 1.5 * count(mobile, (360, 480)).plain


def test_modifiers_change_what_they_say() -> None:
    def kinds(text: str) -> set[str]:
        return {key.rsplit(".", 2)[-2] for key in without_arithmetic(text).state_dict()}

    assert "depthwise" in kinds("deeplabv3plus_xception_slim")
    assert "depthwise" not in kinds("deeplabv3plus_xception_slim,dense")
    assert "depthwise" in kinds("deeplabv3_mobilenetv2,separable")
    assert "reduce" not in str(without_arithmetic("deeplabv3plus_mobilenetv2,no-decoder"))
    branches = without_arithmetic("deeplabv2_mobilenetv2,aspp-s").get_submodule("branches")
    assert [layer.dilation for layer in branches.children()] == [(r, r) for r in (2, 4, 8, 12)]


def test_no_pretrained_weights_of_our_own_trunk_are_looked_for() -> None:
    with pytest.raises(UsageError, match="no ImageNet weights of xception_slim"):
        build_model("deeplabv3plus_xception_slim", 3, pretrained=True)
