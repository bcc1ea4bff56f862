"""Fault finding: one layer of one graph is wrong, and verification names that very layer."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

from export.verification.recipe import verify
from export.verify import Options
from tests.export.faults import Fault, other_rate, scaled_weights, with_fault

ALL = ("fp32.onnx", "fp16.onnx", "int8_u8.onnx", "int8_s8.onnx")
STEM, EARLY = "backbone.conv_stem/Conv", "backbone.blocks.0.0.conv_dw/Conv"
MIDDLE, DILATED = "backbone.blocks.3.1.conv_pw/Conv", "backbone.blocks.5.1.conv_dw/Conv"
ATROUS, POINT = "aspp.atrous.1.depthwise/Conv", "aspp.atrous.2.pointwise/Conv"
REDUCE, REFINE = "decoder.reduce.conv/Conv", "decoder.refine.1.depthwise/Conv"
LAST = "decoder.classifier/Conv"


def scaled(layer: str) -> object:
    return pytest.param(layer, scaled_weights(layer, 1.05), id=layer.partition("/")[0])


RATE = pytest.param(ATROUS, other_rate(ATROUS, 11), id="rate-12-is-11")
QUICK = [(("fp32.onnx",), "fp32"), (("int8_u8.onnx",), "int8_u8")]
SLOW = [(("fp16.onnx",), "fp16"), (("int8_s8.onnx",), "int8_s8"), (ALL, "fp32")]
LAYERS = [scaled(x) for x in (STEM, MIDDLE, DILATED, POINT, REDUCE, REFINE, LAST)]


def check(
    bundle: Path, tmp_path: Path, files: tuple[str, ...], precision: str, layer: str, fault: Fault
) -> None:
    broken = with_fault(bundle, tmp_path / "broken", files, fault)
    report = verify(Options(bundle=broken, frames=1))
    assert report.first is not None
    assert (report.first.precision, report.first.layer) == (precision, layer), report.findings[:4]
    assert not report.passed
    assert layer in report.verdict


@pytest.mark.parametrize(("files", "precision"), QUICK)
@pytest.mark.parametrize(("layer", "fault"), [RATE, scaled(EARLY)])
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
@pytest.mark.parametrize(("files", "precision"), [*QUICK, *SLOW])
@pytest.mark.parametrize(("layer", "fault"), [RATE, scaled(EARLY), *LAYERS])
def test_any_layer_of_any_graph_is_named(
    whole: Path,
    tmp_path: Path,
    files: tuple[str, ...],
    precision: str,
    layer: str,
    fault: Fault,
) -> None:
    check(whole, tmp_path, files, precision, layer, fault)
