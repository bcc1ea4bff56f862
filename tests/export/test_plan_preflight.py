"""The pre-flight: which convolutions are tried, what a verdict is, and how a plan is timed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import onnx
import pytest

from calibration.graphs.qdq import quantize
from engines.command import as_json
from engines.device import Buffer
from engines.failures import DeviceMissing
from export.half import to_half
from export.plans import timing
from export.plans.convolutions import Convolution, distinct, one_layer
from export.plans.library import load_library
from export.plans.preflight import BUILT, NO_KERNEL, RUNS_FLOAT, preflight
from export.plans.settings import BuildSettings
from tests.export.fake_tensorrt import LAYERS_OF_10, FakeTensorRt
from tests.export.miniature import ATROUS, miniature, ranges_of

INT8 = BuildSettings("int8")
ON = (9, 13)  # the maps of stride 4 of 33x49
DEPTHWISE = Convolution(32, 32, 32, (3, 3), (1, 1), (6, 6), (6, 6, 6, 6), ON)
POINTWISE = Convolution(32, 32, 1, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0), ON)


def test_equal_convolutions_are_tried_once_and_all_their_nodes_are_known() -> None:
    float_graph = miniature()
    found = distinct(float_graph)
    assert found[DEPTHWISE] == [ATROUS]
    assert found[POINTWISE] == ["aspp.pointwise/Conv", "aspp.twin/Conv"]
    assert len(found) == 5
    assert distinct(to_half(float_graph)) == found
    quantized = quantize(float_graph, ranges_of(float_graph).tensors, "s8")
    assert distinct(to_half(quantized)) == found


def test_a_convolution_says_what_it_is() -> None:
    assert str(DEPTHWISE) == "depthwise 3x3 32 rate 6 on 9x13"
    assert str(POINTWISE) == "1x1 32>32 on 9x13"
    odd = Convolution(8, 4, 2, (1, 3), (2, 1), (1, 1), (0, 1, 0, 1), (9, 13))
    assert str(odd) == "groups 2 1x3 8>4 stride 2x1 on 9x13"


@pytest.mark.parametrize("convolution", [DEPTHWISE, POINTWISE])
@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize("half", [False, True])
def test_a_layer_alone_is_a_valid_graph_of_that_layer(
    convolution: Convolution, int8: bool, half: bool
) -> None:
    model = onnx.load_model_from_string(one_layer(convolution, int8, half))
    onnx.checker.check_model(model, full_check=True)
    assert distinct(model) == {convolution: ["layer/Conv"]}


def quantizes(graph: bytes) -> bool:
    return b"DequantizeLinear" in graph


def depthwise(graph: bytes) -> bool:
    (found,) = distinct(onnx.load_model_from_string(graph))
    return found.depthwise


def layers_of(graph: bytes) -> str:
    """A 1x1 convolution silently runs in FP16; everything else in what it was asked for."""
    (found,) = distinct(onnx.load_model_from_string(graph))
    if quantizes(graph) and found.kernel != (1, 1):
        return LAYERS_OF_10.replace("FP16", "Int8")
    return LAYERS_OF_10.replace("Int8", "FP16")


def no_depthwise(graph: bytes) -> tuple[str, ...]:
    text = "Error Code 10: Could not find any implementation for node layer/Conv"
    return (text,) if quantizes(graph) and depthwise(graph) else ()


def test_no_kernel_and_a_silent_float_are_told_apart_and_named() -> None:
    trt: Any = FakeTensorRt(fails=no_depthwise, layers=layers_of)
    table = preflight(trt, to_half(miniature()), INT8)
    verdicts = {str(row.convolution): row for row in table.rows}
    atrous = verdicts["depthwise 3x3 32 rate 6 on 9x13"]
    assert atrous.fp16.verdict == BUILT
    assert atrous.int8 is not None
    assert atrous.int8.verdict == NO_KERNEL
    assert "implementation" in str(atrous.int8.reason)
    pointwise = verdicts["1x1 32>32 on 9x13"].int8
    assert pointwise is not None
    assert pointwise.verdict == RUNS_FLOAT
    assert table.unfit() == {
        ATROUS: "no kernel", "aspp.pointwise/Conv": "runs float", "aspp.twin/Conv": "runs float",
        "classifier/Conv": "runs float",
    }  # fmt: skip
    assert len(json.dumps(as_json([row.to_json() for row in table.rows]))) > 100


def half_scales(graph: bytes) -> tuple[str, ...]:
    """NVIDIA/TensorRT#4832, which --weakly-typed is the way around."""
    types = {tensor.data_type for tensor in onnx.load_model_from_string(graph).graph.initializer}
    text = "Could not infer output types for operation: dequantize"
    return (text,) if quantizes(graph) and onnx.TensorProto.FLOAT16 in types else ()


def test_a_weakly_typed_build_is_tried_as_it_will_be_built() -> None:
    weak: Any = FakeTensorRt(fails=half_scales)
    table = preflight(weak, miniature(), BuildSettings("int8", weakly_typed=True))
    assert table.unfit() == {}
    assert weak.calls.flags == 0
    assert weak.calls.config.set_flags == {weak.BuilderFlag.FP16, weak.BuilderFlag.INT8}
    strong: Any = FakeTensorRt(fails=half_scales)
    assert len(preflight(strong, miniature(), INT8).unfit()) == 6


def test_what_has_no_kernel_in_fp16_either_is_not_kept_in_fp16() -> None:
    trt: Any = FakeTensorRt(fails=lambda graph: ("Error Code 10",) if depthwise(graph) else ())
    table = preflight(trt, to_half(miniature()), INT8)
    assert ATROUS not in table.unfit()


def test_without_int8_one_column_is_tried_and_times_are_shown() -> None:
    trt: Any = FakeTensorRt("11.1.0")
    timed: list[bytes] = []

    def timer(plan: bytes) -> float:
        timed.append(plan)
        return 0.25

    table = preflight(trt, to_half(miniature()), BuildSettings("fp16", (1, 4, 8)), timer)
    assert len(trt.calls.graphs) == len(timed) == 5
    assert trt.calls.profiles == []
    assert all(row.int8 is None for row in table.rows)
    head, columns, first, *_ = table.lines()
    assert head == "pre-flight: 5 distinct convolutions, each built alone"
    assert "FP16" in columns
    assert first.split() == [
        "3x3",
        "3>32",
        "stride",
        "2",
        "on",
        "33x49",
        "1",
        "built",
        "0.250",
        "ms",
    ]


@pytest.mark.tensorrt
def test_the_real_rtx_library_builds_each_of_them() -> None:
    table = preflight(load_library("tensorrt-rtx"), to_half(miniature()), INT8)
    assert len(table.rows) == 5
    for row in table.rows:
        assert row.fp16.verdict == BUILT
        assert row.int8 is not None
        assert row.int8.verdict == BUILT


class FakeDevice:
    """Half a millisecond a run, and every buffer given back."""

    stream = 7

    def __init__(self) -> None:
        self.live: set[int] = set()
        self.runs = self.closed = self.depth = 0

    @contextmanager
    def current(self) -> Iterator[None]:
        self.depth += 1
        yield
        self.depth -= 1

    def allocate(self, size: int) -> Buffer:
        self.live.add(len(self.live) + 1)
        return Buffer(len(self.live), size)

    def free(self, buffer: Buffer) -> None:
        self.live.remove(buffer.address)

    def record(self) -> Any:
        now = self.runs
        return SimpleNamespace(
            runs=now,
            synchronise=lambda: None,
            milliseconds_since=lambda earlier: 0.5 * (now - earlier.runs),
        )

    def close(self) -> None:
        self.closed += 1


class FakeEngine:
    """An input of [1, 2, 3] and an output of [1, 4]."""

    num_io_tensors = 2
    shapes: dict[str, tuple[int, ...]] = {"x": (1, 2, 3), "y": (1, 4)}  # noqa: RUF012

    def __init__(self, device: FakeDevice, memory: bool = True) -> None:
        self.device, self.memory = device, memory
        self.bound: dict[str, int] = {}

    def get_tensor_name(self, index: int) -> str:
        return list(self.shapes)[index]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.shapes[name]

    def create_execution_context(self) -> Any:
        assert self.device.depth
        if not self.memory:
            return None
        return SimpleNamespace(
            set_tensor_address=self.bound.__setitem__, execute_async_v3=self._execute
        )

    def _execute(self, stream: int) -> None:
        assert self.device.depth, "the device is not current"
        assert stream == 7
        assert set(self.bound) == {"x", "y"}
        self.device.runs += 1


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> FakeDevice:
    found = FakeDevice()
    monkeypatch.setattr(timing, "open_device", lambda: found)
    return found


def loading(engine: FakeEngine | None) -> Any:
    """A library that makes this engine of every plan."""
    trt: Any = FakeTensorRt()
    trt.Runtime = lambda log: SimpleNamespace(deserialize_cuda_engine=lambda plan: engine)
    return trt


def test_a_plan_is_timed_by_the_devices_own_clock(device: FakeDevice) -> None:
    with timing.plan_timer(loading(FakeEngine(device))) as timer:
        assert timer(b"a plan") == pytest.approx(0.5)
    assert device.runs == timing.WARM_UP + timing.RUNS
    assert device.live == set()
    assert device.closed == 1


def test_a_plan_of_another_gpu_is_built_and_not_timed(device: FakeDevice) -> None:
    with timing.plan_timer(loading(None)) as timer:
        assert timer(b"a plan") is None
        table = preflight(FakeTensorRt(), to_half(miniature()), INT8, timer)  # type: ignore[arg-type]
    assert str(table.rows[0].fp16) == BUILT
    assert device.closed == 1


def test_a_gpu_without_memory_for_one_layer_is_told(device: FakeDevice) -> None:
    full = FakeEngine(device, memory=False)
    with (
        pytest.raises(DeviceMissing, match="no GPU memory"),
        timing.plan_timer(loading(full)) as timer,
    ):
        timer(b"a plan")
    assert device.closed == 1
