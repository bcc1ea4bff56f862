"""A TensorRT target of a build: which graph it takes, what it falls back to, what it says."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, numpy_helper

from calibration.fidelity import Fidelity
from calibration.graphs.wiring import Wiring
from calibration.mixed import MixedSearch
from calibration.mixing.trials import Point
from engines.bundle import Bundle, BundleWriter, writing_bundle
from engines.failures import DeviceMissing, Refused, UsageError
from engines.manifest import Manifest
from engines.plan_sidecar import PlanSidecar, check_profile
from export.calibrated import Calibrated
from export.contract import shape_of
from export.engine_row import Build, EngineRow
from export.graphs import add_graph, add_int8, add_mixed
from export.half import to_half
from export.plan_row import plan_row
from export.plans.settings import BuildSettings
from export.targets import build_engines
from tests.export.fake_tensorrt import LAYERS_OF_10, FakeTensorRt
from tests.export.miniature import ATROUS, POINT, SPEC, miniature, ranges_of
from tests.export.test_plan_preflight import layers_of, no_depthwise

FP16, INT8 = BuildSettings("fp16"), BuildSettings("int8")


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[BundleWriter]:
    """A bundle of the miniature network that waits for its engines."""
    with writing_bundle(tmp_path / "bundle") as writer:
        graph = miniature()
        add_graph(writer, "fp32.onnx", graph, precision="fp32")
        add_graph(writer, "fp16.onnx", to_half(graph), precision="fp16")
        add_int8(writer, graph, Calibrated(ranges_of(graph)))
        yield writer
        writer.finish(Manifest(SPEC, "fp16", ()))


def install(monkeypatch: pytest.MonkeyPatch, trt: FakeTensorRt) -> FakeTensorRt:
    monkeypatch.setitem(sys.modules, "tensorrt", trt)
    return trt


@pytest.fixture
def trt(monkeypatch: pytest.MonkeyPatch) -> FakeTensorRt:
    """TensorRT 10.13 that can do everything."""
    return install(monkeypatch, FakeTensorRt("10.13.3.9"))


def build(writer: BundleWriter, settings: BuildSettings, **facts: object) -> Build:
    known = Build(writer, SPEC, settings.precision, settings, Path("out dir"))
    return replace(known, **facts)  # type: ignore[arg-type]


def sidecar_of(writer: BundleWriter, row: EngineRow) -> PlanSidecar:
    file = writer.find("sidecar", target=row.target, precision=row.precision)
    return PlanSidecar.parse(writer.read(file))


def built_from(trt: FakeTensorRt) -> ModelProto:
    return onnx.load_model_from_string(trt.calls.graphs[-1])


def float_convolutions(model: ModelProto) -> set[str]:
    """The convolutions that read no dequantized tensor."""
    wiring = Wiring(model)
    return {
        node.name
        for node in model.graph.node
        if node.op_type == "Conv" and wiring.producer[node.input[0]].op_type != "DequantizeLinear"
    }


BY_RULE = {"stem/Conv", "classifier/Conv"}


def test_a_row_tells_of_the_plan_and_the_sidecar_of_where_it_belongs(
    writer: BundleWriter, trt: FakeTensorRt
) -> None:
    row = plan_row(build(writer, FP16), "tensorrt")
    assert row.built
    assert row.file == "tensorrt.fp16.plan"
    assert row.layers == "1 convolutions INT8, 1 FP16: stem"
    assert trt.calls.graphs == [writer.read(writer.find("onnx", precision="fp16"))]
    sidecar = sidecar_of(writer, row)
    assert sidecar.plan.sha256 == row.sha256
    assert (sidecar.source.file, sidecar.precision) == ("fp16.onnx", "fp16")
    assert (sidecar.environment.library, sidecar.environment.version) == ("tensorrt", "10.13.3.9")
    assert sidecar.layers == {"FP16": 1, "INT8": 1}
    assert sidecar.batch == (1, 1, 1)
    assert list(check_profile(sidecar, SPEC)) == []
    assert row.trtexec is not None
    assert "'--onnx=out dir/fp16.onnx'" in row.trtexec
    assert any("NVIDIA's tool: trtexec" in line for line in row.lines())


@pytest.mark.parametrize(
    ("wanted", "kept"), [(None, BY_RULE), (True, BY_RULE), (False, BY_RULE | {ATROUS})]
)
def test_depthwise_convolutions_follow_the_flag_or_the_targets_default(
    writer: BundleWriter, trt: FakeTensorRt, wanted: bool | None, kept: set[str]
) -> None:
    plan_row(build(writer, INT8, depthwise_int8=wanted), "tensorrt")
    assert float_convolutions(built_from(trt)) == kept


def test_what_the_machine_cannot_run_in_int8_is_kept_in_fp16_by_name(
    writer: BundleWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    trt = install(
        monkeypatch,
        FakeTensorRt(
            fails=lambda graph: no_depthwise(graph) if alone(graph) else (),
            layers=lambda graph: layers_of(graph) if alone(graph) else "",
        ),
    )
    row = plan_row(build(writer, INT8, preflight=True), "tensorrt")
    assert row.kept_float == {
        ATROUS: "no kernel", POINT: "runs float", "aspp.twin/Conv": "runs float",
    }  # fmt: skip
    assert f"    kept in FP16: {ATROUS} (no kernel in INT8)" in list(row.lines())
    assert len(row.preflight) == 5
    assert float_convolutions(built_from(trt)) == BY_RULE | set(row.kept_float)
    source = writer.find("plan-source", target="tensorrt")
    assert sidecar_of(writer, row).source.file == source.name == "tensorrt.int8.onnx"
    assert writer.read(source) == trt.calls.graphs[-1]
    assert row.layers is None  # this fake tells nothing of the whole plan


def test_a_quantized_layer_that_the_plan_runs_in_float_is_named(
    writer: BundleWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = LAYERS_OF_10.replace("[ONNX Layer: block/Conv]", f"[ONNX Layer: {ATROUS}]")
    told = told.replace("[ONNX Layer: stem/Conv]\x1e", f"[ONNX Layer: {POINT}]\x1e")
    install(monkeypatch, FakeTensorRt(layers=lambda graph: told))
    row = plan_row(build(writer, INT8), "tensorrt")
    assert row.runs_float == {POINT: "FP16"}
    assert any(f"WARNING: {POINT}" in line for line in row.lines())


def alone(graph: bytes) -> bool:
    return b"layer/Conv" in graph


def test_where_all_is_well_the_bundles_own_graph_is_used(
    writer: BundleWriter, trt: FakeTensorRt
) -> None:
    row = plan_row(build(writer, replace(INT8, batch=(1, 1, 1)), preflight=True), "tensorrt")
    assert row.kept_float == {}
    assert sidecar_of(writer, row).source.file == "int8_s8.onnx"
    assert writer.search("plan-source") is None


def test_what_the_bundles_graph_keeps_in_float_stays_there_when_it_is_written_anew(
    writer: BundleWriter, trt: FakeTensorRt
) -> None:
    graph = miniature()
    writer.files = [file for file in writer.files if file.precision != "int8"]
    add_int8(writer, graph, Calibrated(ranges_of(graph)), exclude=[POINT])
    weak = replace(INT8, weakly_typed=True)
    plan_row(build(writer, weak), "tensorrt")
    graph = built_from(trt)
    assert float_convolutions(graph) == BY_RULE | {POINT}
    kinds = {tensor.data_type for tensor in graph.graph.initializer}
    assert TensorProto.FLOAT16 not in kinds  # FP32 scales: what weak typing is for
    assert trt.calls.flags == 0


def test_what_is_excluded_stays_in_float_in_the_mixed_graph_too(
    writer: BundleWriter, trt: FakeTensorRt
) -> None:
    graph = miniature()
    point = Point("mixed", {"down/Conv": "noisy"}, 0.1, 0.5, Fidelity(99.0, 99.0, 20.0, 68.0))
    search = MixedSearch("s8", "share", "labels", 4, 0.3, point, point, [point], [point], [], {})
    found = Calibrated(ranges_of(graph), mixed={"s8": search})
    picked = add_mixed(writer, graph, found, max_drop=0.3, required=True, exclude=[POINT])
    assert picked["s8"]["float_convolutions"] == {POINT: "--exclude", "down/Conv": "noisy"}
    plan_row(build(writer, BuildSettings("mixed")), "tensorrt")
    assert float_convolutions(built_from(trt)) == BY_RULE | {POINT, "down/Conv"}


def test_weak_fp16_is_the_fp32_graph_with_a_flag(writer: BundleWriter, trt: FakeTensorRt) -> None:
    row = plan_row(build(writer, replace(FP16, weakly_typed=True)), "tensorrt")
    assert sidecar_of(writer, row).source.file == "fp32.onnx"
    assert trt.calls.config.set_flags == {trt.BuilderFlag.FP16}


def test_several_frames_open_the_graph_and_are_in_the_sidecar(
    writer: BundleWriter, trt: FakeTensorRt
) -> None:
    sizes = ((33, 49), (33, 49), (66, 98))
    row = plan_row(build(writer, replace(INT8, batch=(1, 4, 8), size=sizes)), "tensorrt")
    assert shape_of(built_from(trt).graph.input[0]) == ("batch", "height", "width", 3)
    sidecar = sidecar_of(writer, row)
    assert (sidecar.batch, sidecar.size) == ((1, 4, 8), sizes)
    assert "--maxShapes=frames:8x66x98x3" in (row.trtexec or "")


def test_a_graph_whose_frames_meet_is_refused_for_a_batch(
    writer: BundleWriter, trt: FakeTensorRt
) -> None:
    mixes = miniature()
    for tensor in mixes.graph.initializer:
        if tensor.name == "axes":  # the mean of all frames, not of each
            tensor.CopyFrom(numpy_helper.from_array(np.array([0, 2, 3]), "axes"))
        if tensor.name == "scale":
            tensor.CopyFrom(numpy_helper.from_array(np.array(1, np.float32), "scale"))
    file = writer.find("onnx", precision="fp32")
    writer.path(file.name).write_bytes(mixes.SerializeToString())
    with pytest.raises(Refused, match="mixes the frames"):
        plan_row(build(writer, BuildSettings("fp32", (1, 2, 2))), "tensorrt")
    assert trt.calls.graphs == []


def test_a_plan_for_all_gpus_from_ampere_on_says_so(
    writer: BundleWriter, trt: FakeTensorRt
) -> None:
    row = plan_row(build(writer, replace(FP16, hardware_compatible=True)), "tensorrt")
    sidecar = sidecar_of(writer, row)
    assert sidecar.compute_capabilities == ("8.0+",)
    assert sidecar.options.hardware_compatibility == "ampere-plus"


def test_auto_tells_why_a_target_is_missing_and_a_named_one_raises(
    writer: BundleWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, FakeTensorRt(parses=False))
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    wanted = build(writer, FP16)
    rows = {row.target: row for row in build_engines(wanted, "auto")}
    assert rows["cpu"].built
    assert "no importer for Foo" in str(rows["tensorrt"].reason)
    assert "not installed" in str(rows["tensorrt-rtx"].reason)
    with pytest.raises(Refused, match="no importer"):
        build_engines(wanted, "tensorrt")
    with pytest.raises(DeviceMissing):
        build_engines(wanted, "tensorrt-rtx")
    weak = build(writer, replace(FP16, hardware_compatible=True))
    monkeypatch.undo()
    with pytest.raises(UsageError, match="--hardware-compatible"):
        build_engines(weak, "tensorrt-rtx")


@pytest.mark.tensorrt
@pytest.mark.parametrize(
    ("settings", "depthwise", "layers"),
    [
        (FP16, None, "6 convolutions FP16"),
        (INT8, None, "3 convolutions INT8, 3 FP16: stem, aspp.depthwise, classifier"),
        (INT8, True, "4 convolutions INT8, 2 FP16: stem, classifier"),
        (replace(INT8, batch=(1, 2, 8)), None, "3 convolutions INT8, 3 FP16"),
    ],
)
def test_the_real_rtx_library_runs_each_layer_in_what_it_was_asked_for(
    writer: BundleWriter, settings: BuildSettings, depthwise: bool | None, layers: str
) -> None:
    row = plan_row(build(writer, settings, depthwise_int8=depthwise), "tensorrt-rtx")
    assert str(row.layers).startswith(layers)
    sidecar = sidecar_of(writer, row)
    assert sidecar.compute_capabilities == ("8.0+",)
    assert sidecar.batch == settings.batch


@pytest.mark.tensorrt
def test_the_bundle_opens_with_all_that_was_added(tmp_path: Path, writer: BundleWriter) -> None:
    plan_row(build(writer, replace(FP16, batch=(1, 2, 8))), "tensorrt-rtx")
    writer.finish(Manifest(SPEC, "fp16", ()))
    assert Bundle.open(writer.folder).plan("tensorrt-rtx", "fp16") is not None
