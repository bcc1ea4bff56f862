"""The plan builder: driven with fakes of TensorRT 10 and 11, and with the real RTX library."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from engines.failures import DeviceMissing, Refused
from export.plan import build_plan, convolutions, load_library


class FakeTensorRT:
    """As much of the library's surface as a build touches; anything else is an AttributeError."""

    def __init__(self, version: str, strongly_typed: int, parses: bool, plan: bytes | None) -> None:
        self.__name__ = "tensorrt"
        self.__version__ = version
        self.NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=strongly_typed)
        self.ProfilingVerbosity = SimpleNamespace(DETAILED="detailed")
        self.MemoryPoolType = SimpleNamespace(WORKSPACE="workspace")
        self.calls: dict[str, Any] = {}
        calls = self.calls

        class Logger:
            Severity = SimpleNamespace(ERROR=1, INTERNAL_ERROR=0, VERBOSE=4)

        class Builder:
            def __init__(self, log: Any) -> None:
                calls["log"] = log

            def create_network(self, flags: int) -> str:
                calls["flags"] = flags
                return "network"

            def create_builder_config(self) -> Any:
                def limit(pool: str, size: int) -> None:
                    calls["limit"] = (pool, size)

                return SimpleNamespace(set_memory_pool_limit=limit)

            def build_serialized_network(self, network: str, config: Any) -> bytes | None:
                calls["verbosity"] = config.profiling_verbosity
                log = calls["log"]
                log.log(1, "CUDA error 35: driver version is insufficient")
                log.log(1, "Error Code 10: Could not find any implementation for node aspp/Conv")
                return plan

        class Parser:
            num_errors = 1

            def __init__(self, network: str, log: Any) -> None:
                assert network == "network"

            def parse(self, graph: bytes) -> bool:
                return parses

            def get_error(self, index: int) -> Any:
                return SimpleNamespace(desc=lambda: "no importer for Foo")

        self.ILogger = Logger
        self.Builder = Builder
        self.OnnxParser = Parser


def fake(
    version: str = "10.3.0", flag: int = 1, parses: bool = True, plan: bytes | None = b"plan"
) -> Any:
    return FakeTensorRT(version, flag, parses, plan)


@pytest.mark.parametrize(("version", "flag"), [("10.3.0", 1), ("10.13.0", 1), ("11.1.0", 0)])
def test_networks_are_strongly_typed_whatever_number_the_flag_has(version: str, flag: int) -> None:
    trt = fake(version, flag)
    plan = build_plan(trt, b"graph", workspace_mb=3)
    assert plan.data == b"plan"
    assert plan.version == version
    assert trt.calls["flags"] == 1 << flag
    assert trt.calls["limit"] == ("workspace", 3 << 20)
    assert trt.calls["verbosity"] == "detailed"


def test_a_graph_that_does_not_parse_is_refused_with_the_parsers_words() -> None:
    with pytest.raises(Refused, match=r"tensorrt 10\.3\.0 .*no importer for Foo"):
        build_plan(fake(parses=False), b"graph", 1)


def test_a_failed_build_says_why_and_not_that_there_is_no_driver() -> None:
    with pytest.raises(Refused, match="aspp/Conv") as failure:
        build_plan(fake(plan=None), b"graph", 1)
    assert "driver" not in str(failure.value)


def test_a_missing_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(DeviceMissing, match="JetPack"):
        load_library("tensorrt")


def test_layers_are_counted_by_the_precision_they_run_in() -> None:
    log = (
        "Layers:\n"
        "Name: a, LayerType: correlation, Inputs: [ { Name: x, Datatype: Int8, Format: f }]\n"
        "Name: b, LayerType: kgen, Inputs: [ { Name: x, Datatype: Float, Format: f }]\n"
        "Name: c, LayerType: correlation, Inputs: [ { Name: x, Datatype: Half, Format: f }]\n"
    )
    assert convolutions(log) == {"FP16": 1, "INT8": 1}
    assert convolutions("") == {}


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
        helper.make_node("Conv", ["nchw", "w"], ["stem"], pads=[1] * 4, strides=[2, 2]),
        helper.make_node("Conv", ["stem", "d"], ["atrous"], group=32, **atrous),
        helper.make_node("Cast", ["atrous"], ["logits"], to=types.FLOAT),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("frames", types.UINT8, [1, 64, 96, 3])],
        [helper.make_tensor_value_info("logits", types.FLOAT, [1, 32, 32, 48])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    return bytes(model.SerializeToString())


@pytest.mark.tensorrt
def test_the_real_rtx_library_builds_an_atrous_depthwise_graph_in_half() -> None:
    plan = build_plan(load_library("tensorrt-rtx"), tiny_graph(), workspace_mb=256)
    assert len(plan.data) > 1000
    assert plan.library == "tensorrt_rtx"
    assert plan.convolutions == {"FP16": 2}


@pytest.mark.tensorrt
def test_the_real_rtx_library_refuses_a_broken_graph() -> None:
    with pytest.raises(Refused, match="parse"):
        build_plan(load_library("tensorrt-rtx"), tiny_graph()[:300], workspace_mb=256)
