"""The plan builder: driven with fakes of TensorRT 10.3, 10.13 and 11, and with the real RTX."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from engines.failures import DeviceMissing, Refused, UsageError
from export.plans.builder import build_plan
from export.plans.layers import summary
from export.plans.library import load_library
from export.plans.settings import BuildSettings
from tests.export.fake_tensorrt import FakeTensorRt

VERSIONS = ("10.3.0", "10.13.3.9", "11.1.0")
FP16, INT8 = BuildSettings("fp16"), BuildSettings("int8")


def build(trt: FakeTensorRt, settings: BuildSettings = FP16, quiet: bool = True) -> Any:
    return build_plan(trt, b"graph", settings, quiet)  # type: ignore[arg-type]


@pytest.mark.parametrize(("version", "flag"), [("10.3.0", 2), ("10.13.3.9", 2), ("11.1.0", 1)])
def test_networks_are_strongly_typed_whatever_number_the_flag_has(version: str, flag: int) -> None:
    trt = FakeTensorRt(version)
    plan = build(trt, INT8)
    assert (plan.data, plan.library, plan.version) == (b"a plan", "tensorrt", version)
    assert trt.calls.flags == flag
    assert trt.calls.graphs == [b"graph"]
    assert trt.calls.config.set_flags == set()  # precision is the graph's
    assert trt.calls.config.profiling_verbosity == "detailed"
    assert trt.calls.config.pools == {"workspace": 1024 << 20}
    assert trt.calls.profiles == []
    assert plan.convolutions == {"FP16": 1, "INT8": 1}
    missing = "Missing scale and zero-point for tensor ..., expect fall back"
    assert plan.warnings == {missing: 2}


@pytest.mark.parametrize("version", VERSIONS)
def test_every_setting_reaches_the_builder(version: str) -> None:
    trt = FakeTensorRt(version)
    build(trt, replace(FP16, workspace_mb=3, optimisation_level=5, hardware_compatible=True))
    config = trt.calls.config
    assert config.pools == {"workspace": 3 << 20}
    assert config.builder_optimization_level == 5
    assert config.hardware_compatibility_level == trt.HardwareCompatibilityLevel.AMPERE_PLUS


def test_what_is_not_asked_for_is_left_to_the_library() -> None:
    trt = FakeTensorRt()
    build(trt)
    for name in ("builder_optimization_level", "hardware_compatibility_level", "progress_monitor"):
        assert not hasattr(trt.calls.config, name)


def test_open_dimensions_get_a_profile_of_three_shapes() -> None:
    sizes = ((16, 24), (32, 48), (64, 96))
    trt = FakeTensorRt(shape=(-1, -1, -1, 3))
    build(trt, replace(FP16, batch=(1, 4, 8), size=sizes))
    shapes = ((1, 16, 24, 3), (4, 32, 48, 3), (8, 64, 96, 3))
    assert trt.calls.profiles == [{"frames": shapes}]
    trt = FakeTensorRt(shape=(-1, 32, 48, 3))
    build(trt, replace(FP16, batch=(1, 1, 8)))
    assert trt.calls.profiles == [{"frames": ((1, 32, 48, 3), (1, 32, 48, 3), (8, 32, 48, 3))}]


def test_shapes_that_the_builder_does_not_take_are_refused() -> None:
    with pytest.raises(Refused, match="does not take the shapes"):
        build(FakeTensorRt(shape=(-1, 0, 48, 3)))


def test_an_open_size_without_sizes_is_refused() -> None:
    with pytest.raises(Refused, match="--input-size"):
        build(FakeTensorRt(shape=(1, -1, -1, 3)))


@pytest.mark.parametrize(
    ("precision", "flags"), [("fp32", set()), ("fp16", {0}), ("int8", {0, 2}), ("mixed", {0, 2})]
)
def test_weak_typing_is_precision_by_flags_on_10(precision: str, flags: set[int]) -> None:
    trt = FakeTensorRt("10.13.3.9")
    build(trt, BuildSettings(precision, weakly_typed=True))
    assert trt.calls.flags == 0
    assert trt.calls.config.set_flags == flags


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (replace(FP16, weakly_typed=True), r"--weakly-typed: tensorrt 11\.1\.0 has no such thing"),
        (replace(FP16, compute_capabilities=("8.9",)), "--compute-capability.*for the GPU"),
    ],
)
def test_a_setting_that_a_version_does_not_have_is_an_error(
    settings: BuildSettings, words: str
) -> None:
    trt = FakeTensorRt("11.1.0")
    with pytest.raises(UsageError, match=words):
        build(trt, settings)
    assert trt.calls.graphs == []


def test_a_graph_that_does_not_parse_is_refused_with_the_parsers_words() -> None:
    with pytest.raises(Refused, match=r"tensorrt 10\.3\.0 .*no importer for Foo"):
        build(FakeTensorRt(parses=False))


def test_a_failed_build_says_why_and_not_that_there_is_no_driver() -> None:
    words = "Error Code 10: Could not find any implementation for node aspp/Conv"
    with pytest.raises(Refused, match=r"aspp/Conv.*--no-depthwise-int8") as failure:
        build(FakeTensorRt(fails=lambda graph: (words,)))
    assert "driver" not in str(failure.value)


def test_a_missing_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(DeviceMissing, match="JetPack"):
        load_library("tensorrt")


def tiny_graph() -> bytes:
    """uint8 NHWC -> a strided and an atrous depthwise convolution, typed FP16."""
    onnx = pytest.importorskip("onnx")
    helper, types = onnx.helper, onnx.TensorProto
    rng = np.random.default_rng(0)
    weights = [
        onnx.numpy_helper.from_array(rng.normal(size=shape).astype(np.float16), name)
        for name, shape in (("w", (32, 3, 3, 3)), ("d", (32, 1, 3, 3)))
    ]
    atrous = {"pads": [6] * 4, "dilations": [6] * 2}
    nodes = [
        helper.make_node("Cast", ["frames"], ["half"], to=types.FLOAT16),
        helper.make_node("Transpose", ["half"], ["nchw"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["nchw", "w"], ["a"], "stem/Conv", pads=[1] * 4, strides=[2, 2]),
        helper.make_node("Conv", ["a", "d"], ["b"], "atrous/Conv", group=32, **atrous),
        helper.make_node("Cast", ["b"], ["logits"], to=types.FLOAT),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("frames", types.UINT8, ["n", 64, 96, 3])],
        [helper.make_tensor_value_info("logits", types.FLOAT, ["n", 32, 32, 48])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    return bytes(model.SerializeToString())


@pytest.mark.tensorrt
@pytest.mark.parametrize("capability", [(), ("8.9",), ("8.6", "12.0")])
def test_the_real_rtx_library_builds_an_atrous_depthwise_graph_in_half(
    capability: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    settings = BuildSettings("fp16", (1, 2, 8), optimisation_level=2)
    settings = replace(settings, compute_capabilities=capability)
    plan = build_plan(load_library("tensorrt-rtx"), tiny_graph(), settings)
    assert len(plan.data) > 1000
    assert plan.library == "tensorrt_rtx"
    assert summary(plan.layers) == "2 convolutions FP16"
    assert {"stem/Conv", "atrous/Conv"} <= {node for layer in plan.layers for node in layer.onnx}


@pytest.mark.tensorrt
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (replace(FP16, compute_capabilities=("8.7",)), "does not build for compute capability 8.7"),
        (replace(FP16, hardware_compatible=True), "--compute-capability narrows it"),
        (replace(FP16, weakly_typed=True), "strongly typed only"),
    ],
)
def test_the_real_rtx_library_refuses_what_it_has_not(settings: BuildSettings, words: str) -> None:
    with pytest.raises((Refused, UsageError), match=words):
        build_plan(load_library("tensorrt-rtx"), tiny_graph(), settings)


@pytest.mark.tensorrt
def test_the_real_rtx_library_refuses_a_broken_graph() -> None:
    with pytest.raises(Refused, match="parse"):
        build_plan(load_library("tensorrt-rtx"), tiny_graph()[:300], FP16)


def test_a_library_that_finds_no_gpu_is_a_missing_device() -> None:
    """What TensorRT 10 and 11 do on a machine without one, or with a driver that is too old."""

    def fail(log: Any) -> Any:
        raise TypeError("pybind11::init(): factory function returned nullptr")

    trt = FakeTensorRt()
    trt.Builder = fail
    with pytest.raises(DeviceMissing, match=r"tensorrt 10\.3\.0 does not start .*engines\.doctor"):
        build(trt)
