"""Errors of TensorRT that are known, each with its cause and the way out: data, and one look-up.

Sources are the threads named, or "seen", which is tensorrt_rtx 1.7 on a machine without a GPU.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

FURTHER = 2  # other messages that are quoted beside the one that is explained


@dataclass(frozen=True)
class Known:
    """A message that matches `pattern` has this cause; `fix` is what to do, `source` who says."""

    pattern: str
    cause: str
    fix: str
    source: str


KNOWN = (
    Known(
        r"infer output types for operation: dequantize|dequantize.*output type",
        "TensorRT's compiler finds no type for Q/DQ pairs with FP16 scales on this GPU",
        "add --weakly-typed (TensorRT 10 only), or build --fp16",
        "NVIDIA/TensorRT#4832, an Orin with 10.16.2",
    ),
    Known(
        r"Could not find any implementation for node|Error Code 10",
        "this GPU has no kernel for that layer in the types asked for, or too little workspace",
        "leave the pre-flight on: it finds such convolutions and keeps them in FP16; or give more "
        "scratch memory with --workspace-mb, or keep depthwise convolutions in FP16 with "
        "--no-depthwise-int8",
        "NVIDIA/TensorRT#4060, #3813",
    ),
    Known(
        r"Target GPU SM \d+ is not supported|SM \d+ is not supported|Unsupported SM",
        "this TensorRT was not made for this GPU",
        "install a version that supports it (python -m engines.doctor tells): for an Orin the one "
        "of its JetPack, for others 10.3 or later",
        "isaac-ros-cli#22: 10.13.3 has no SM 87",
    ),
    Known(
        r"out of memory|OutOfMemory|cudaErrorMemoryAllocation|Requested amount of GPU memory|"
        r"Cuda failure: 2\b",
        "the GPU's memory, on a Jetson the system's, does not suffice for the build",
        "lower --workspace-mb and --batch, close other programs, or on a Jetson add swap",
        "ultralytics#19614, #21281",
    ),
    Known(
        r"no optimization profile has been defined",
        "the graph leaves a dimension open and no shapes were given for it",
        "give --batch MIN:OPT:MAX and --input-size",
        "seen",
    ),
    Known(
        r"shiftIsAllZeros",
        "a zero point is not 0: the graph is quantized asymmetrically",
        "quantize it symmetrically: build from the FP32 graph with --int8 --data SPEC",
        "seen",
    ),
    Known(
        r"Scale coefficients must all be positive",
        "a quantization scale is zero or negative, perhaps rounded to zero in FP16",
        "calibrate again with --data SPEC on frames that use the whole network",
        "seen; NVIDIA/TensorRT#3020",
    ),
    Known(
        r"type Int32 but must have type FP8|must have type FP8, FP4, Int4, Int8",
        "a bias is quantized to INT32, which is what onnxruntime's CPU wants",
        "build from the FP32 graph with --int8 --data SPEC",
        "seen",
    ),
    Known(
        r"node_permute: first input has type UInt8|has type UInt8 but must have type",
        "the graph does more with bytes than casting them",
        "export it so that Cast to float is the first node and Transpose comes after it",
        "seen",
    ),
    Known(
        r"Failed to parse ONNX model|ModelImporter.*(parse|deserialize)|Unable to parse",
        "the file is no ONNX graph, or is cut off",
        "build the bundle again with python export/build_engine.py",
        "seen",
    ),
    Known(
        r"No importer registered for op|no importer for|No plugin|Plugin not found",
        "the graph has an operator that this TensorRT does not know",
        "export it with standard operators of opset 19 or older",
        "NVIDIA's operator list",
    ),
    Known(
        r"strongly.?typed|must have the same type|same data type|types must match",
        "two inputs of a layer have different types, which a strongly typed network may not have",
        "build from the FP32 graph, so that all types are written by one converter",
        "NVIDIA's migration guide to TensorRT 11",
    ),
    Known(
        r"version_compatible|lean runtime|VERSION_COMPATIBLE",
        "the plan was asked to run on other TensorRT versions, for which a file is missing here",
        "build the plan with the TensorRT that runs it",
        "seen",
    ),
    Known(
        r"timing cache.*(mismatch|invalid|corrupt)|cannot deserialize timing cache",
        "the timing cache is damaged or belongs to another GPU or version",
        "delete the file that --timing-cache names",
        "NVIDIA's API reference",
    ),
    Known(
        r"CUDA initialization failure|no CUDA-capable device|cudaGetDeviceCount|Error Code 6.*CUDA",
        "the CUDA driver does not start: there is no GPU, or its driver is too old for this "
        "TensorRT",
        "run python -m engines.doctor; in a container start it with --gpus all",
        "NVIDIA's troubleshooting page",
    ),
)  # fmt: skip


def find_known(message: str) -> Known | None:
    """What is known about one message."""
    return next((item for item in KNOWN if re.search(item.pattern, message, re.I | re.S)), None)


def explain(messages: Sequence[str]) -> str:
    """One sentence: TensorRT's words, then cause and fix if any of them is known.

    The first known message is what happened; without one it is the first of all, because the last
    ones tell only that the build was given up.
    """
    told = [" ".join(message.split()) for message in messages if message.strip()]
    if not told:
        return "it gave no reason"
    message = next((text for text in told if find_known(text)), told[0])
    known = find_known(message)
    if known is None:
        return "; ".join(told[: 1 + FURTHER])
    return f"{message} -- {known.cause}; {known.fix} ({known.source})"
