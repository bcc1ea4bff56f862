"""What runs graphs with taps: a plan with many outputs on a fake GPU, and failures in words."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from engines.failures import DeviceMissing, GateFailed, Refused
from export.half import to_half
from export.verification import backends
from export.verification.backends import TappedPlan, on_onnxruntime, on_tensorrt
from export.verification.onnx_taps import tapped
from tests.export.miniature import SIZE, miniature

Array = NDArray[Any]


class FakeDevice:
    """A GPU whose memory is a dictionary."""

    stream = 7

    def __init__(self) -> None:
        self.memory: dict[int, Array] = {}
        self.freed: list[int] = []
        self._addresses = itertools.count(100)

    def allocate(self, size: int) -> Any:
        return SimpleNamespace(address=next(self._addresses), size=size)

    def upload(self, array: Array, buffer: Any) -> None:
        assert array.nbytes == buffer.size
        self.memory[buffer.address] = array.copy()

    def download(self, buffer: Any, array: Array) -> None:
        array[...] = self.memory[buffer.address]

    def current(self) -> Any:
        return contextlib.nullcontext()

    def synchronise(self) -> None:
        """Nothing runs beside the program here."""

    def free(self, buffer: Any) -> None:
        self.freed.append(buffer.address)


def fake_tensorrt(
    device: FakeDevice, runs: bool = True, takes: bool = True, memory: bool = True
) -> Any:
    """Its only plan: `half` is the mean of `frames` in FP16, `logits` twice the sum."""
    shapes = {"logits": (1, 2), "frames": (1, 4), "half": (1, 1)}
    types = {"logits": "FLOAT", "frames": "UINT8", "half": "HALF"}
    bound: dict[str, int] = {}

    class Logger:
        Severity = SimpleNamespace(ERROR=1, INTERNAL_ERROR=0)

    class Context:
        def set_tensor_address(self, name: str, address: int) -> bool:
            bound[name] = address
            return True

        def execute_async_v3(self, stream: int) -> bool:
            assert stream == device.stream
            frames = device.memory[bound["frames"]].astype(np.float32)
            device.memory[bound["half"]] = frames.mean(keepdims=True).astype(np.float16)
            device.memory[bound["logits"]] = np.full((1, 2), 2 * frames.sum(), np.float32)
            return runs

    engine = SimpleNamespace(
        num_io_tensors=3,
        get_tensor_name=lambda index: list(shapes)[index],
        get_tensor_shape=lambda name: shapes[name],
        get_tensor_dtype=lambda name: types[name],
        create_execution_context=Context if memory else lambda: None,
    )
    runtime = SimpleNamespace(deserialize_cuda_engine=lambda plan: engine if takes else None)
    numbers = {"FLOAT": np.float32, "UINT8": np.uint8, "HALF": np.float16}
    return SimpleNamespace(
        __name__="tensorrt",
        ILogger=Logger,
        Runtime=lambda log: runtime,
        nptype=lambda kind: numbers[kind],
    )


def test_a_plan_gives_all_its_outputs_in_the_graphs_order_as_float() -> None:
    device = FakeDevice()
    plan = TappedPlan(fake_tensorrt(device), b"plan", device, ["half", "logits"])  # type: ignore[arg-type]
    half, logits = plan.run({"frames": np.array([[1, 2, 3, 4]], np.uint8)})
    assert half.dtype == logits.dtype == np.float32
    np.testing.assert_allclose(half, [[2.5]])
    np.testing.assert_allclose(logits, [[20, 20]])
    plan.close()
    assert len(device.freed) == 3


def test_a_plan_that_is_not_taken_or_does_not_run_says_so() -> None:
    device: Any = FakeDevice()
    with pytest.raises(Refused, match="does not take its own plan"):
        TappedPlan(fake_tensorrt(device, takes=False), b"plan", device, ["logits"])
    with pytest.raises(DeviceMissing, match="no memory left for a plan with taps"):
        TappedPlan(fake_tensorrt(device, memory=False), b"plan", device, ["logits"])
    plan = TappedPlan(fake_tensorrt(device, runs=False), b"plan", device, ["logits"])
    with pytest.raises(DeviceMissing, match="does not run"):
        plan.run({"frames": np.zeros((1, 4), np.uint8)})


def adder(rows: int) -> Any:
    """y = x + [1, 2, 3] for x of any number of columns, which must be 3."""
    nodes = [helper.make_node("Add", ["x", "c"], ["y"], "add")]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [rows, None]) for name in "xy"]
    constants = [helper.make_tensor("c", TensorProto.FLOAT, [3], [1, 2, 3])]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)


def test_onnxruntimes_failures_are_sentences() -> None:
    run = on_onnxruntime(adder(1), "int8")
    np.testing.assert_allclose(run({"x": np.zeros((1, 3), np.float32)})[0], [[1, 2, 3]])
    with pytest.raises(GateFailed, match="the int8 graph loads and does not run"):
        run({"x": np.zeros((1, 2), np.float32)})
    broken = adder(1)
    broken.graph.node[0].op_type = "Nothing"
    with pytest.raises(Refused, match="does not accept the int8 graph"):
        on_onnxruntime(broken, "int8")


def test_plans_are_built_for_their_taps_and_freed_together(monkeypatch: pytest.MonkeyPatch) -> None:
    device: Any = FakeDevice()
    built = []

    def build(trt: Any, graph: bytes, settings: Any, quiet: bool) -> Any:
        built.append((graph, settings.precision, quiet))
        return SimpleNamespace(data=b"plan")

    monkeypatch.setattr(backends, "load_library", lambda target: fake_tensorrt(device))
    monkeypatch.setattr("export.plans.builder.build_plan", build)
    graph = adder(1)
    graph.graph.output[0].name = "logits"
    with contextlib.ExitStack() as lifetime:
        run = on_tensorrt("tensorrt", lifetime, device)(graph, "int8_s8 on tensorrt")
        (logits,) = run({"frames": np.array([[1, 2, 3, 4]], np.uint8)})
    np.testing.assert_allclose(logits, [[20, 20]])
    assert built == [(graph.SerializeToString(), "int8", True)]
    assert len(device.freed) == 3


@pytest.mark.gpu
@pytest.mark.tensorrt
def test_a_real_plan_with_taps_computes_what_onnxruntime_does() -> None:
    target = "tensorrt" if importlib.util.find_spec("tensorrt") else "tensorrt-rtx"
    graph = tapped(to_half(miniature()), ["d", "f", "logits"])
    frame = np.random.default_rng(0).integers(0, 256, (1, *SIZE, 3), np.uint8)
    expected = on_onnxruntime(graph, "fp16")({"frames": frame})
    with contextlib.ExitStack() as lifetime:
        found = on_tensorrt(target, lifetime)(graph, "fp16")({"frames": frame})
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == theirs.shape
        assert np.abs(ours - theirs).max() < 0.01 * np.abs(theirs).max()
