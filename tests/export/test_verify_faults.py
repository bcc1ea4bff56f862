"""Fault finding: one layer of one graph is wrong, and verification names that very layer."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

from export.verification.recipe import verify
from export.verify import Options
from tests.export.faults import Fault, other_rate, scaled_weights, with_fault
from tests.export.small_bundles import write_bundle

ALL = ("fp32.onnx", "fp16.onnx", "int8_u8.onnx", "int8_s8.onnx")
STEM, EARLY = "backbone.conv_stem/Conv", "backbone.blocks.0.0.conv_dw/Conv"
MIDDLE, DILATED = "backbone.blocks.3.1.conv_pw/Conv", "backbone.blocks.5.1.conv_dw/Conv"
ATROUS, POINT = "aspp.atrous.1.depthwise/Conv", "aspp.atrous.2.pointwise/Conv"
REDUCE, REFINE = "decoder.reduce.conv/Conv", "decoder.refine.1.depthwise/Conv"
LAST = "decoder.classifier/Conv"


def scaled(layer: str) -> object:
    return pytest.param(layer, scaled_weights(layer, 1.05), id=layer.partition("/")[0])


RATE = pytest.param(ATROUS, other_rate(ATROUS, 11), id="rate-12-is-11")
FIRST = (("fp32.onnx",), "fp32"), (("int8_u8.onnx",), "int8_u8")
OTHERS = (("fp16.onnx",), "fp16"), (("int8_s8.onnx",), "int8_s8"), (ALL, "fp32")
LAYERS = [scaled(x) for x in (EARLY, STEM, MIDDLE, DILATED, POINT, REDUCE, REFINE, LAST)]
QUICK = [
    (("fp32.onnx",), "fp32", ATROUS, other_rate(ATROUS, 11)),
    (("int8_u8.onnx",), "int8_u8", EARLY, scaled_weights(EARLY, 1.05)),
]


def check(
    bundle: Path, tmp_path: Path, files: tuple[str, ...], precision: str, layer: str, fault: Fault
) -> None:
    broken = with_fault(bundle, tmp_path / "broken", files, fault)
    report = verify(Options(bundle=broken, frames=1))
    assert report.first is not None
    assert (report.first.precision, report.first.layer) == (precision, layer), report.findings[:4]
    assert not report.passed
    assert layer in report.verdict


@pytest.mark.parametrize(("files", "precision", "layer", "fault"), QUICK, ids=["rate", "scale"])
def test_the_layer_is_named(
    whole: Path,
    tmp_path: Path,
    files: tuple[str, ...],
    precision: str,
    layer: str,
    fault: Fault,
) -> None:
    check(whole, tmp_path, files, precision, layer, fault)


@pytest.mark.slow
@pytest.mark.parametrize(("files", "precision"), FIRST)
@pytest.mark.parametrize(("layer", "fault"), [RATE, *LAYERS])
def test_any_layer_is_named(
    whole: Path,
    tmp_path: Path,
    files: tuple[str, ...],
    precision: str,
    layer: str,
    fault: Fault,
) -> None:
    check(whole, tmp_path, files, precision, layer, fault)


@pytest.mark.slow
@pytest.mark.parametrize(("files", "precision"), OTHERS)
@pytest.mark.parametrize(("layer", "fault"), [RATE, scaled(EARLY), scaled(REFINE)])
def test_in_any_graph(
    whole: Path,
    tmp_path: Path,
    files: tuple[str, ...],
    precision: str,
    layer: str,
    fault: Fault,
) -> None:
    check(whole, tmp_path, files, precision, layer, fault)


def test_no_layer_of_a_sound_bundle_is_blamed(whole: Path) -> None:
    report = verify(Options(bundle=whole, frames=1, min_agreement=0.5))
    assert report.first is None, report.findings[:4]
    assert report.reference == "PyTorch FP32"
    precisions = {row.precision for row in report.layers}
    assert precisions == {"fp32", "fp16", "fp16_torch", "int8_u8", "int8_s8"}
    assert len(report.layers) == 5 * 81
    assert len(report.oracle) == 44  # 17 units, 3 branches, 2 of the decoder: two parts each
    assert report.oracle_max_abs is not None
    assert report.oracle_max_abs < 1e-5
    assert not report.notes
    fp32 = [row for row in report.layers if row.precision == "fp32"]
    assert min(row.own_sqnr_db or 0 for row in fp32) > 100


@pytest.mark.slow
@pytest.mark.parametrize(
    "architecture",
    [
        "deeplabv3plus_xception65",
        "deeplabv3plus_mobilenetv3,width=0.75",
        "deeplabv3_resnet50",
        "torchvision_deeplabv3_resnet50",
    ],
)
def test_other_members_of_the_family_are_seen_whole(tmp_path: Path, architecture: str) -> None:
    bundle = write_bundle(tmp_path / "bundle", architecture, size=(65, 97), int8="minmax")
    report = verify(Options(bundle=bundle, frames=1, min_agreement=0.5))
    assert report.notes == []  # every layer has its twin in PyTorch
    # Of layers: FP16's logits of random weights lie at the limit (torchvision's 44.5 dB of 45).
    blamed = [item for item in report.findings if item.layer and item.precision in ("fp32", "fp16")]
    assert blamed == []
    assert report.oracle
    kinds = {error.kind for error in report.oracle}
    assert kinds >= ({"depthwise", "pointwise"} if "plus" in architecture else {"dense"})


@pytest.mark.slow
def test_xceptions_middle_flow_is_named(tmp_path: Path) -> None:
    layer = "backbone.blocks_9.stack.conv2.conv_dw/Conv"
    whole = write_bundle(
        tmp_path / "whole", "deeplabv3plus_xception65", size=(65, 97), int8="minmax"
    )
    broken = with_fault(whole, tmp_path / "broken", ALL, scaled_weights(layer, 1.05))
    first = verify(Options(bundle=broken, frames=1)).first
    assert first is not None
    assert (first.precision, first.layer) == ("fp32", layer)
