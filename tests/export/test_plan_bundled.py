"""The bundled model on the real TensorRT for RTX: every convolution in the precision asked for."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from calibration.graphs.wiring import Wiring
from engines.bundle import Bundle
from engines.plan_sidecar import PlanSidecar

pytest.importorskip("torch")

from export.build_engine import main

pytestmark = [pytest.mark.slow, pytest.mark.tensorrt]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built for INT8 with a pre-flight; then FP16 plans from the same bundle, as on a device."""
    out = tmp_path_factory.mktemp("bundled") / "bundle"
    target = ["--target", "tensorrt-rtx"]
    assert main(["--int8", *target, "--preflight", "--out", str(out)]) == 0
    assert main(["--fp16", *target, "--batch", "1:2:8", "--bundle", str(out)]) == 0
    return out


def counts(built: Path, precision: str) -> tuple[dict[str, int], dict[str, int]]:
    """The plan's convolutions by precision: what its graph asks for, and what the log says."""
    bundle = Bundle.open(built)
    file = bundle.manifest.find("sidecar", target="tensorrt-rtx", precision=precision)
    assert file is not None
    sidecar = PlanSidecar.parse(bundle.read(file))
    model = onnx.load(built / sidecar.source.file)
    wiring = Wiring(model)
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    quantized = sum(
        wiring.producer[node.input[0]].op_type == "DequantizeLinear" for node in convolutions
    )
    asked = {"FP16": len(convolutions) - quantized, "INT8": quantized}
    return {name: count for name, count in asked.items() if count}, sidecar.layers


@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_no_convolution_runs_in_another_precision(built: Path, precision: str) -> None:
    asked, found = counts(built, precision)
    assert found == asked
    assert found["INT8" if precision == "int8" else "FP16"] > 30
