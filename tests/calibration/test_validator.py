"""Each rule of the Q/DQ validator on a graph of one convolution, and TensorRT's own verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from calibration.graphs.validator import Finding, inspect_s8, validate_s8
from engines.failures import Refused

CHANNELS = 16


@dataclass(frozen=True)
class Case:
    """x -> Q -> DQ -> Conv(DQ(weight)) -> y, with one thing at a time done wrong."""

    code: type[np.generic] = np.int8
    zero_point: int = 0
    scale: float | tuple[float, ...] = 0.02
    weight_axis: int = 0
    data_quantized: bool = True
    weight_quantized: bool = True
    bias_quantized: bool = False
    operator: str = "Conv"
    real: type[np.generic] = np.float32
    opset: int = 19
    run_time_scale: bool = False
    byte_transpose: bool = False

    def graph(self) -> ModelProto:
        """The graph of this case."""
        nodes, constants = [], []

        def constant(name: str, value: NDArray[Any]) -> str:
            constants.append(numpy_helper.from_array(value, name))
            return name

        def scales(name: str, value: float | tuple[float, ...], zero: Any) -> list[str]:
            array = np.asarray(value, self.real)
            zeros = np.full(array.shape, zero)
            return [constant(f"{name}.scale", array), constant(f"{name}.zero", zeros)]

        kind = helper.np_dtype_to_tensor_dtype(np.dtype(self.real))
        inputs = [helper.make_tensor_value_info("x", kind, [1, CHANNELS, 8, 8])]
        data = "x"
        if self.byte_transpose:
            inputs = [helper.make_tensor_value_info("x", TensorProto.UINT8, [1, 8, 8, CHANNELS])]
            nodes.append(helper.make_node("Transpose", ["x"], ["t"], "turn", perm=[0, 3, 1, 2]))
            nodes.append(helper.make_node("Cast", ["t"], ["c"], "cast", to=kind))
            data = "c"
        if self.data_quantized:
            pair = scales("data", self.scale, self.code(self.zero_point))
            if self.run_time_scale:
                inputs.append(helper.make_tensor_value_info("s", kind, []))
                pair[0] = "s"
            nodes.append(
                helper.make_node("QuantizeLinear", [data, *pair], ["q"], "quantize", axis=1)
            )
            nodes.append(
                helper.make_node("DequantizeLinear", ["q", *pair], ["d"], "restore", axis=1)
            )
            data = "d"
        codes = np.random.default_rng(0).integers(-127, 128, (CHANNELS, CHANNELS, 1, 1))
        if self.weight_quantized:
            pair = scales("weight", (0.01,) * CHANNELS, np.int8(0))
            stored = constant("weight", codes.astype(np.int8))
            nodes.append(
                helper.make_node(
                    "DequantizeLinear", [stored, *pair], ["w"], "weigh", axis=self.weight_axis
                )
            )
        else:
            constant("w", codes.astype(self.real))
        bias = constant("bias", np.zeros(CHANNELS, self.real))
        if self.bias_quantized:
            pair = scales("bias", (0.01,) * CHANNELS, np.int32(0))
            stored = constant("bias.codes", np.ones(CHANNELS, np.int32))
            nodes.append(
                helper.make_node("DequantizeLinear", [stored, *pair], ["b"], "shift", axis=0)
            )
            bias = "b"
        nodes.append(helper.make_node(self.operator, [data, "w", bias], ["y"], "convolve"))
        outputs = [helper.make_tensor_value_info("y", kind, [1, CHANNELS, 8, 8])]
        graph = helper.make_graph(nodes, "case", inputs, outputs, constants)
        opsets = [helper.make_opsetid("", self.opset)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=9)


RIGHT = {
    "fp32": Case(),
    "fp16": Case(real=np.float16),
    "float": Case(data_quantized=False, weight_quantized=False),
}

# what is wrong -> the case, the node to name, the rule, words of the message
WRONG = {
    "uint8 codes": (Case(code=np.uint8), "quantize", "code type", "UINT8"),
    "a zero point": (Case(zero_point=3), "quantize", "zero point", "not 0"),
    "uint8 with zero point": (
        Case(code=np.uint8, zero_point=128),
        "quantize",
        "zero point",
        "not 0",
    ),
    "a zero scale": (Case(scale=0.0), "quantize", "scale", "positive"),
    "a negative scale": (Case(scale=-0.1), "quantize", "scale", "positive"),
    "an infinite scale": (Case(scale=np.inf), "quantize", "scale", "finite"),
    "a scale at run time": (Case(run_time_scale=True), "quantize", "scale", "run time"),
    "a subnormal scale": (Case(real=np.float16, scale=3e-5), "quantize", "scale", "subnormal"),
    "an old opset": (Case(real=np.float16, opset=18), "quantize", "scale", "opset 19"),
    "a quantized bias": (Case(bias_quantized=True), "shift", "code type", "bias"),
    "weights along axis 1": (Case(weight_axis=1), "convolve", "weight axis", "axis 1"),
    "channel-wise activations": (
        Case(scale=(0.02,) * CHANNELS),
        "quantize",
        "activation scale",
        "16",
    ),
    "float data": (Case(data_quantized=False), "convolve", "both sides", "quantize its input"),
    "float weights": (
        Case(weight_quantized=False),
        "convolve",
        "both sides",
        "quantize its weight",
    ),
    "a ConvTranspose": (
        Case(operator="ConvTranspose"),
        "convolve",
        "transposed convolution",
        "leave",
    ),
    "a byte transpose": (Case(byte_transpose=True), "turn", "byte transpose", "cast to float"),
}
REJECTED = (
    "a zero point",
    "uint8 with zero point",
    "a zero scale",
    "a negative scale",
    "a quantized bias",
    "a byte transpose",
)


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_graph_has_no_findings(name: str) -> None:
    assert inspect_s8(RIGHT[name].graph()) == []
    validate_s8(RIGHT[name].graph())


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_graph_is_refused_with_the_node_and_the_cause(name: str) -> None:
    case, node, rule, words = WRONG[name]
    findings = inspect_s8(case.graph())
    assert Finding(node, rule, next(f.message for f in findings if f.rule == rule)) in findings
    assert all(words in f.message for f in findings if (f.node, f.rule) == (node, rule))
    with pytest.raises(Refused, match=f"TensorRT cannot run this INT8 graph: {findings[0].node}: "):
        validate_s8(case.graph())


def test_a_missing_zero_point_means_uint8() -> None:
    model = Case().graph()
    for node in model.graph.node[:2]:
        del node.input[2:]
    assert [finding.rule for finding in inspect_s8(model)] == ["code type"] * 2


CRASHING = ("a scale at run time",)  # tensorrt_rtx 1.7.1 ends the process with a segmentation fault


@pytest.mark.tensorrt
@pytest.mark.parametrize("name", [*RIGHT, *(name for name in WRONG if name not in CRASHING)])
def test_tensorrt_rejects_what_we_say_it_rejects(name: str) -> None:
    from export.plans.builder import build_plan
    from export.plans.library import load_library
    from export.plans.settings import BuildSettings

    rtx = load_library("tensorrt-rtx")
    case = RIGHT[name] if name in RIGHT else WRONG[name][0]
    graph = case.graph().SerializeToString()
    if name in REJECTED:
        with pytest.raises(Refused):
            build_plan(rtx, graph, BuildSettings("int8"))
    else:
        assert len(build_plan(rtx, graph, BuildSettings("int8")).data) > 0
