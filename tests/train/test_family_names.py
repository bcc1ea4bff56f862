"""Architecture strings: one way to write each, and an answer to every misspelling."""

from __future__ import annotations

import pytest

from engines.failures import UsageError
from train.family import ARCHITECTURES, Architecture, build_model


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_plain_name_is_the_default_written_out(name: str) -> None:
    defaults = (choice[0] for choice in ARCHITECTURES[name].choices)
    assert str(Architecture.parse(",".join((name, *defaults)))) == name


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("deeplabv3plus_xception65,dense,no-decoder", "deeplabv3plus_xception65,no-decoder,dense"),
        ("deeplabv3plus_mobilenetv2, separable, decoder", "deeplabv3plus_mobilenetv2"),
        ("deeplabv3_mobilenetv2,separable,width=0.50", "deeplabv3_mobilenetv2,separable,width=0.5"),
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
        ("deeplabv2_resnet101,no-multi-grid", "no modifier 'no-multi-grid'"),
        ("deeplabv1_vgg16,dense", "known: none"),
        ("deeplabv2_vgg16,aspp-s,aspp-l", "aspp-l and aspp-s exclude each other|aspp-s and aspp-l"),
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


def test_logits_stand_behind_the_decoder_or_at_the_output_stride() -> None:
    assert Architecture.parse("deeplabv3plus_resnet50").logits_stride(8) == 4
    assert Architecture.parse("deeplabv3plus_resnet50,no-decoder").logits_stride() == 16
    assert Architecture.parse("deeplabv2_vgg16").logits_stride() == 8
