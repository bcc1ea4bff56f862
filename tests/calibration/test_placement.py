"""Which nodes stay in float, and for which reason."""

from __future__ import annotations

from onnx import ModelProto

from calibration.placement import float_nodes


def test_s8_names_its_reasons(miniature: ModelProto) -> None:
    reasons = float_nodes(miniature, "s8")
    assert reasons["stem/Conv"].startswith("first convolution")
    assert reasons["classifier/Conv"].startswith("classifier")
    assert reasons["pooling/Conv"].startswith("image pooling")
    assert not {"depth/Conv", "wide/Conv", "branch/Conv", "project/Conv"} & reasons.keys()


def test_rtx_adds_the_depthwise_convolutions(miniature: ModelProto) -> None:
    extra = (
        float_nodes(miniature, "s8", "tensorrt-rtx").keys() - float_nodes(miniature, "s8").keys()
    )
    assert extra == {"depth/Conv", "shrink/Conv", "atrous/Conv"}


def test_u8_keeps_nothing_in_float(miniature: ModelProto) -> None:
    assert float_nodes(miniature, "u8") == {}
