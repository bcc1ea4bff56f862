"""Every member of the family keeps one contract; names are parsed, written and guessed at."""

from __future__ import annotations

import pytest
import torch

from engines.failures import UsageError
from train.family import ARCHITECTURES, Architecture, build_model

MILLIONS = {  # 11 classes; counted from the layer tables of the official xception.py, model.py
    "deeplabv3plus_mobilenetv2": 2.72,
    "deeplabv3plus_xception41": 28.11,
    "deeplabv3plus_xception65": 41.05,
    "deeplabv3plus_xception71": 43.48,
}


@pytest.mark.parametrize("architecture", MILLIONS)
def test_parameters_match_the_official_networks(architecture: str) -> None:
    with torch.device("meta"):
        network = build_model(architecture, classes=11)
    count = sum(p.numel() for p in network.parameters())
    assert count / 1e6 == pytest.approx(MILLIONS[architecture], abs=0.011)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_logits_stand_at_the_stride_that_the_name_says(name: str) -> None:
    architecture = Architecture.parse(name)
    for stride in architecture.member.strides:
        with torch.device("meta"):
            network = build_model(name, 5, stride).eval()
            logits = network(torch.zeros(1, 3, 97, 130))
        step = architecture.logits_stride(stride)
        assert logits.shape == (1, 5, -(-97 // step), -(-130 // step))


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("deeplabv3plus_mobilenetv2", "deeplabv3plus_mobilenetv2"),
        ("deeplabv3plus_xception65,dense,no-decoder", "deeplabv3plus_xception65,no-decoder,dense"),
        ("deeplabv3plus_mobilenetv2, separable, decoder", "deeplabv3plus_mobilenetv2"),
        ("deeplabv3_mobilenetv2,separable,width=0.50", "deeplabv3_mobilenetv2,separable,width=0.5"),
        ("deeplabv2_vgg16,aspp-l", "deeplabv2_vgg16"),
        ("deeplabv2_vgg16,aspp-s,aspp-s", "deeplabv2_vgg16,aspp-s"),
    ],
)
def test_a_name_has_one_way_to_be_written(text: str, canonical: str) -> None:
    architecture = Architecture.parse(text)
    assert str(architecture) == canonical
    assert Architecture.parse(canonical) == architecture


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("deeplabv3plus_xception66", "did you mean deeplabv3plus_xception65"),
        ("segformer", "known: deeplabv1_vgg16"),
        ("", "unknown architecture ''"),
        ("deeplabv3plus_mobilenetv2,no-decodr", "did you mean no-decoder"),
        ("deeplabv3plus_mobilenetv2,width=0.6", "no modifier 'width=0.6': did you mean width=0"),
        ("deeplabv3plus_mobilenetv2,width=wide", "no modifier 'width=wide'"),
        ("deeplabv3plus_xception41,width=0.5", "no modifier 'width=0.5'"),
        ("deeplabv1_vgg16,dense", "known: none"),
        ("deeplabv2_vgg16,aspp-s,aspp-l", "aspp-s and aspp-l exclude each other"),
    ],
)
def test_a_bad_name_is_answered_with_a_guess(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build_model(text, 3)


def test_a_stride_that_a_member_cannot_run_at_is_refused() -> None:
    with pytest.raises(UsageError, match="stride 4: give --output-stride 8 or 16 or 32"):
        build_model("deeplabv3plus_mobilenetv2", 3, output_stride=4)
    with pytest.raises(UsageError, match=r"deeplabv1_vgg16 .* 16: give --output-stride 8$"):
        build_model("deeplabv1_vgg16", 3, output_stride=16)
