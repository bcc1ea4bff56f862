"""Float graph + ranges -> Q/DQ graph: onnxruntime's static quantizer, our presets, our ranges.

Two flavours from one set of ranges:

`u8`, for onnxruntime's CPU kernels: unsigned asymmetric activations, weights signed per channel,
INT32 biases, and outputs quantized too, so that whole chains fuse into QLinearConv, QLinearAdd and
QLinearConcat. The fast kernels need VNNI (x86) or dot-product (ARM) instructions for exact sums. On
older AVX2 machines their 16-bit sums saturate: `engines.onnxruntime_session` asks for exact ones.

`s8`, for TensorRT: symmetric INT8, per-channel weights along axis 0, zero points 0, float biases,
outputs of convolutions unquantized. As only convolutions ask for quantized inputs, of a residual
Add only the identity branch is quantized (it also feeds the next convolution): NVIDIA's rule.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper

from calibration.graphs.columns import fold_columns
from calibration.graphs.placement import ACTIVATIONS, INTEGER_OPERATORS, Flavour, float_nodes
from calibration.graphs.stem import read_bytes
from calibration.graphs.wiring import Wiring
from calibration.ranges.observe import quantizable
from calibration.ranges.tally import Range
from calibration.repairs.rounding import round_depthwise
from engines.failures import Refused

# The smallest normal FP16 number is 6.104e-5. Scales below lose bits in an FP16 graph, and below
# 6e-8 they vanish; so no range is taken narrower than 254 steps of it.
SMALLEST_RANGE = 254 * 6.2e-5

NOTHING = 1e-20  # a smaller bias is 0 as far as INT8 is concerned


@dataclass(frozen=True)
class Preset:
    """What onnxruntime's `QDQQuantizer` is told for one flavour."""

    activation: str  # a member of onnxruntime.quantization.QuantType
    operators: Collection[str]
    options: dict[str, Any] = field(default_factory=dict)


PRESETS: dict[Flavour, Preset] = {
    # Resize stays in float (its uint8 kernel takes 1.9 ms where the float one takes 0.8 with its
    # conversions), ReduceMean too (onnxruntime 1.32 fuses none of it).
    "u8": Preset("QUInt8", INTEGER_OPERATORS | {"Transpose", "Reshape"}),
    "s8": Preset(
        "QInt8",
        ("Conv",),
        {
            "ActivationSymmetric": True,
            "WeightSymmetric": True,
            "QuantizeBias": False,
            "OpTypesToExcludeOutputQuantization": ["Conv"],
            "MinimumRealRange": SMALLEST_RANGE,
        },
    ),
}


def quantize(
    model: ModelProto,
    ranges: Mapping[str, Range],
    flavour: Flavour,
    exclude: Collection[str] = (),
    target: str | None = None,
    per_channel: bool = True,
    keep_sums: bool = True,
) -> ModelProto:
    """A Q/DQ copy of an FP32 graph; what `exclude` and the rules of `placement` name stays float.

    Without `per_channel` all channels of a weight share one scale: what a MobileNet does not
    survive, kept to show it. `keep_sums` is `calibration.repairs.rounding`'s. `ranges` must cover
    every quantizable tensor of the graph, and `exclude` must name nodes of it: else the ranges or
    names belong to another graph, and `Refused` is raised.
    """
    _check_names(model, ranges, exclude)
    float_model, ranges = prepared(model, ranges, flavour, target)
    kept = {*exclude, *float_nodes(float_model, flavour, target)}
    if keep_sums:
        round_depthwise(float_model, kept, per_channel)
    result = _quantized(float_model, ranges, PRESETS[flavour], kept, per_channel)
    if flavour == "s8":
        _give_float_inputs(result, kept)
    del result.metadata_props[:]
    onnx.checker.check_model(result, full_check=True)
    return result


def prepared(
    model: ModelProto, ranges: Mapping[str, Range], flavour: Flavour, target: str | None = None
) -> tuple[ModelProto, Mapping[str, Range]]:
    """The float graph as it is just before rounding, a copy, and the ranges that go with it.

    OpenVINO's keeps the normalisation of frames: reading bytes is what onnxruntime gains from,
    OpenVINO 2026.4 then computes the first convolution in float (17.0 core-ms a frame instead of
    15.6, and 20.8 with folded columns; AMX, one thread).
    """
    result = ModelProto()
    result.CopyFrom(model)
    if flavour == "u8":
        ranges = _with_shared_concats(model, ranges)
        if target != "openvino" and read_bytes(result):
            ranges |= {new: ranges[old] for new, old in fold_columns(result).items()}
    return result, ranges


def _quantized(
    model: ModelProto,
    ranges: Mapping[str, Range],
    preset: Preset,
    kept: Collection[str],
    per_channel: bool,
) -> ModelProto:
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.calibrate import TensorData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
    from onnxruntime.quantization.quant_utils import add_infer_metadata

    inferred = onnx.shape_inference.infer_shapes(model)
    add_infer_metadata(inferred)  # else the quantizer infers again, through a temporary file
    quantizer = QDQQuantizer(
        inferred,
        per_channel=per_channel,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType[preset.activation],
        tensors_range={
            name: TensorData(lowest=np.float32(low), highest=np.float32(high))
            for name, (low, high) in _with_fused_outputs(model, ranges).items()
        },
        nodes_to_quantize=[],
        nodes_to_exclude=list(kept),
        op_types_to_quantize=sorted(preset.operators),
        extra_options=dict(preset.options),
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    result: ModelProto = quantizer.model.model
    _keep_biases_of_dead_channels(result, model)
    return result


def _keep_biases_of_dead_channels(model: ModelProto, float_model: ModelProto) -> None:
    """Give channels whose weights are all 0 a scale that their bias fits, in place.

    The quantizer takes 1 for it and the bias becomes whole input scales: of a first convolution
    that reads bytes whole numbers, for 20 dB of a small network's logits. Codes of 0 are 0 at any
    scale; this one gives the bias 24 bits.
    """
    wiring, exact = Wiring(model), Wiring(float_model)
    biases = {node.name: node.input[2] for node in exact.nodes if len(node.input) == 3}
    for node in wiring.nodes:
        made_of = [wiring.dequantizer(name) for name in node.input]
        if node.op_type != "Conv" or len(made_of) != 3 or not all(made_of):
            continue
        data, weight, bias = (list(source.input[:2]) for source in made_of if source)
        codes, scale = map(wiring.value, weight)
        value = exact.value(biases[node.name]).astype(np.float64)
        dead = (np.abs(value) > NOTHING) & ~codes.reshape(len(codes), -1).any(axis=1)
        alone = all(len(wiring.consumers[name]) == 1 for name in (*weight, *bias, *node.input[1:]))
        if alone and scale.size == len(codes) and dead.any():
            step = np.where(dead, np.abs(value) / 2**24, 1)
            _replace(wiring, weight[1], dead, step / float(wiring.value(data[1])))
            _replace(wiring, bias[1], dead, step)
            _replace(wiring, bias[0], dead, np.rint(value / step))


def _replace(
    wiring: Wiring, name: str, where: NDArray[np.bool_], value: NDArray[np.float64]
) -> None:
    """Write other numbers into some places of a constant."""
    before = wiring.value(name)
    after = np.where(where, value.astype(before.dtype), before)
    wiring.constants[name].CopyFrom(numpy_helper.from_array(after, name))


def _give_float_inputs(model: ModelProto, kept: Collection[str]) -> None:
    """Let nodes that stay float read the float tensor where a neighbour reads the quantized one.

    The quantizer rewires every reader of a tensor. On TensorRT, where convolutions give float
    outputs, a float node would gain nothing from the rounded copy; on the CPU that copy is all
    there is.
    """
    wiring = Wiring(model)
    for node in model.graph.node:
        if node.name in kept:
            for slot, tensor in enumerate(node.input):
                dequantize = wiring.dequantizer(tensor)
                quantize = dequantize and wiring.producer.get(dequantize.input[0])
                if quantize is not None:
                    node.input[slot] = quantize.input[0]


def _with_fused_outputs(model: ModelProto, ranges: Mapping[str, Range]) -> dict[str, Range]:
    """Give what only an activation reads that activation's range: the two become one node."""
    fused = {
        node.input[0]: ranges[node.output[0]]
        for node in model.graph.node
        if node.op_type in ACTIVATIONS and node.output[0] in ranges
    }
    return fused | dict(ranges)


def _with_shared_concats(model: ModelProto, ranges: Mapping[str, Range]) -> dict[str, Range]:
    """Give all inputs of a Concat its own range, so that it copies bytes instead of rescaling them.

    Takes 0.5 instead of 1.1 ms of 13 ms at 480x360; mIoU on CamVid moved by 0.01 points. One of
    shapes, or that only an activation reads, has no range of its own.
    """
    shared = dict(ranges)
    for node in model.graph.node:
        if node.op_type == "Concat" and node.output[0] in ranges:
            shared |= dict.fromkeys(node.input, ranges[node.output[0]])
    return shared


def _check_names(model: ModelProto, ranges: Mapping[str, Range], exclude: Collection[str]) -> None:
    missing = [name for name in quantizable(model) if name not in ranges]
    if missing:
        raise Refused(
            f"the calibration ranges lack {missing[0]} and {len(missing) - 1} more tensors: they "
            "belong to another network; calibrate again with --data"
        )
    unknown = sorted(set(exclude) - {node.name for node in model.graph.node})
    if unknown:
        raise Refused(f"the graph has no node {unknown[0]!r} that could stay in float")
