"""What TensorRT would reject in a Q/DQ graph, or take and silently run in float or get wrong.

Each rule was tried on tensorrt_rtx 1.7: some graphs it rejects with a message that names no cause,
most it builds without a word, and a scale computed at run time ends the process with a segmentation
fault. So this runs before every build.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto

from calibration.graphs.wiring import Wiring, attribute, element_types
from engines.failures import Refused

SMALLEST_NORMAL_HALF = 2.0**-14  # 6.104e-5
HALF_SCALES_OPSET = 19
QUANTIZERS = ("QuantizeLinear", "DequantizeLinear")


@dataclass(frozen=True)
class Finding:
    """One thing wrong with one node."""

    node: str
    rule: str
    message: str


class Inspection:
    """A graph with what the rules look at."""

    def __init__(self, model: ModelProto) -> None:
        self.wiring = Wiring(model)
        self.types = element_types(model)
        standard = (item for item in model.opset_import if item.domain in ("", "ai.onnx"))
        self.opset = next(standard).version

    def scale(self, node: NodeProto) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]] | None:
        """The scale of a Q or DQ node; None if it is computed at run time."""
        name = node.input[1]
        return self.wiring.value(name).astype(np.float64) if name in self.wiring.constants else None


def validate_s8(model: ModelProto) -> None:
    """Raise `Refused`, with the node's name, if TensorRT could not run this graph in INT8."""
    findings = inspect_s8(model)
    if findings:
        first, others = findings[0], len(findings) - 1
        more = f" (and {others} more)" if others else ""
        raise Refused(f"TensorRT cannot run this INT8 graph: {first.node}: {first.message}{more}")


def inspect_s8(model: ModelProto) -> list[Finding]:
    """Everything that keeps a Q/DQ graph from running in INT8 on TensorRT, in graph order."""
    inspection = Inspection(model)
    return [
        Finding(node.name, rule, message)
        for node in model.graph.node
        for rule, check in RULES.items()
        for message in check(node, inspection)
    ]


def _code_type(node: NodeProto, graph: Inspection) -> Iterator[str]:
    if node.op_type not in QUANTIZERS:
        return
    codes = node.output[0] if node.op_type == "QuantizeLinear" else node.input[0]
    kind = graph.types.get(codes, TensorProto.UNDEFINED)
    if kind == TensorProto.INT32:
        yield "its codes are INT32, a quantized bias: TensorRT rejects it; keep biases in float"
    elif kind == TensorProto.UINT8:
        yield "its codes are UINT8: TensorRT reads them as INT8, so codes over 127 come out wrong"
    elif kind != TensorProto.INT8:
        name = TensorProto.DataType.Name(kind)
        yield f"its codes are {name}: only INT8 is supported"


def _zero_point(node: NodeProto, graph: Inspection) -> Iterator[str]:
    if node.op_type not in QUANTIZERS or len(node.input) < 3 or not node.input[2]:
        return
    if node.input[2] not in graph.wiring.constants:
        yield "its zero point is computed at run time: TensorRT needs a constant 0"
    elif np.any(graph.wiring.value(node.input[2])):
        yield "its zero point is not 0: TensorRT rejects asymmetric quantization"


def _scale(node: NodeProto, graph: Inspection) -> Iterator[str]:
    if node.op_type not in QUANTIZERS:
        return
    scale = graph.scale(node)
    if scale is None:
        yield "its scale is computed at run time: TensorRT needs a constant"
    elif not np.isfinite(scale).all() or (scale <= 0).any():
        yield f"a scale is {scale.min():g}: every scale must be positive and finite"
    elif graph.types[node.input[1]] == TensorProto.FLOAT16:
        if (scale < SMALLEST_NORMAL_HALF).any():
            yield f"the FP16 scale {scale.min():.3g} is subnormal (below 6.104e-05) and loses bits"
        if graph.opset < HALF_SCALES_OPSET:
            yield f"FP16 scales need opset {HALF_SCALES_OPSET}, the graph has {graph.opset}"


def _activation_scale(node: NodeProto, graph: Inspection) -> Iterator[str]:
    if node.op_type != "QuantizeLinear" or node.input[0] in graph.wiring.constants:
        return
    scale = graph.scale(node)
    if scale is not None and scale.size > 1:
        yield (
            f"the activation has {scale.size} scales, one per channel: TensorRT runs what reads it "
            "in float; use one scale"
        )


def _weight_axis(node: NodeProto, graph: Inspection) -> Iterator[str]:
    dequantize = graph.wiring.dequantizer(node.input[1]) if node.op_type == "Conv" else None
    if dequantize is None:
        return
    scale = graph.scale(dequantize)
    axis = attribute(dequantize, "axis", 1)
    if scale is not None and scale.size > 1 and axis != 0:
        yield f"its weight is quantized along axis {axis}: TensorRT runs it in float; use axis 0"


def _both_sides(node: NodeProto, graph: Inspection) -> Iterator[str]:
    if node.op_type != "Conv":
        return
    data, weight = map(graph.wiring.dequantizer, node.input[:2])
    if (data is None) != (weight is None):
        side = "input" if data is None else "weight"
        yield f"only one of input and weight is quantized: it runs in float; quantize its {side}"


def _transposed_convolution(node: NodeProto, graph: Inspection) -> Iterator[str]:
    if node.op_type == "ConvTranspose" and any(map(graph.wiring.dequantizer, node.input)):
        yield "TensorRT runs a quantized ConvTranspose in float: leave it out of the quantization"


def _byte_transpose(node: NodeProto, graph: Inspection) -> Iterator[str]:
    if node.op_type == "Transpose" and graph.types.get(node.input[0]) == TensorProto.UINT8:
        yield "TensorRT rejects a Transpose of UINT8: cast to float before it"


Check = Callable[[NodeProto, Inspection], Iterator[str]]

RULES: dict[str, Check] = {
    "code type": _code_type,
    "zero point": _zero_point,
    "scale": _scale,
    "activation scale": _activation_scale,
    "weight axis": _weight_axis,
    "both sides": _both_sides,
    "transposed convolution": _transposed_convolution,
    "byte transpose": _byte_transpose,
}
