"""FP32 -> FP16 graphs, Q/DQ graphs with their scales included."""

from __future__ import annotations

from collections.abc import Mapping

import onnx
from onnx import ModelProto

LARGEST_HALF = 65504.0


def to_half(model: ModelProto) -> ModelProto:
    """An FP16 copy of an FP32 graph; frames stay uint8 and logits float32.

    onnxruntime's converter, because it also converts Q/DQ scales and graphs with a uint8 input.
    Weights beyond 65504 are clamped by it; `largest_activation` tells how near activations get.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16

    # Inferred here, as the converter would take its own symbolic inference and change the input.
    inferred = onnx.shape_inference.infer_shapes(model)
    half: ModelProto = convert_float_to_float16(
        inferred, keep_io_types=True, disable_shape_infer=True, op_block_list=[]
    )
    onnx.checker.check_model(half, full_check=True)
    return half


def largest_activation(ranges: Mapping[str, tuple[float, float]]) -> tuple[str, float]:
    """The tensor with the largest magnitude, and that magnitude, to hold against 65504."""
    magnitudes = {name: max(abs(low), abs(high)) for name, (low, high) in ranges.items()}
    name = max(magnitudes, key=lambda key: magnitudes[key])
    return name, magnitudes[name]
