"""OpenVINO as it comes: the bundle's FP32 graph, and that graph quantized by NNCF's defaults."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.contenders import Contender, Frame, Logits
from benchmarks.peers import OPENVINO
from engines.bundle import Bundle
from engines.openvino_session import core


def openvino_fp32(bundle: Bundle, threads: int) -> Contender:
    """The FP32 graph computed in FP32."""
    return Contender(OPENVINO[0], compiled(read(bundle), threads, INFERENCE_PRECISION_HINT="f32"))


def openvino_default(bundle: Bundle, threads: int) -> Contender:
    """The FP32 graph as OpenVINO runs it: in bfloat16 where the CPU has instructions for it."""
    return Contender(OPENVINO[1], compiled(read(bundle), threads))


def nncf_int8(bundle: Bundle, threads: int, frames: Sequence[Frame]) -> Contender:
    """Post-training quantization with nothing set: preset, calibrators and repairs are NNCF's."""
    os.environ["NNCF_CI"] = "1"  # no telemetry: a benchmark calls nobody
    import nncf

    inputs = tqdm(frames, "NNCF", unit="frame", disable=None)
    model = nncf.quantize(read(bundle), nncf.Dataset(inputs, lambda frame: frame[None]))
    return Contender(OPENVINO[2], compiled(model, threads))


def read(bundle: Bundle) -> Any:
    """The bundle's FP32 graph as OpenVINO's model."""
    return core().read_model(bundle.read(bundle.graph("fp32")))


def compiled(model: Any, threads: int, **hints: str) -> Callable[[Frame], Logits]:
    """A function from a frame to logits on the CPU, with the hint for latency and `hints`."""
    settings: dict[str, Any] = {
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
    } | hints
    executable = core().compile_model(model, "CPU", settings)
    request = executable.create_infer_request()

    def run(frame: Frame) -> Logits:
        (logits,) = request.infer([frame[None]]).values()
        return np.array(logits[0], np.float32)  # a copy: the request writes into its own again

    return run
