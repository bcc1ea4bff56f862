"""The small bundle with a second engine, whose graph may be damaged in one class."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx

from engines.bundle import Bundle, Golden, writing_bundle
from engines.labels import upsample_argmax
from engines.onnxruntime_session import OnnxRuntimeSession
from scenes.street import StreetCamera


def with_int8(tiny: Path, root: Path, damaged: str | None = None) -> Path:
    """A copy of a bundle of the fixture `tiny_bundle` with a graph that it calls INT8.

    It is FP32's with slightly other weights. It never says the class `damaged`.
    """
    whole = Bundle.open(tiny)
    data, spec = whole.read(whole.graph("fp32")), whole.spec
    frame = StreetCamera(spec.input_size, seed=1).scene(0).frame
    with OnnxRuntimeSession(data, spec, "fp32", 1) as session:
        mask = upsample_argmax(session.run(frame[None])[0], spec.input_size)
    number = None if damaged is None else spec.classes.index(damaged)
    with writing_bundle(root) as writer:
        writer.add_bytes("fp32.onnx", data, "onnx", precision="fp32")
        other = _altered(data, number)
        writer.add_bytes("int8_u8.onnx", other, "onnx", precision="int8", flavour="u8")
        writer.add_golden([Golden(frame, mask)])
        writer.finish(replace(whole.manifest, files=()))
    return root


def _altered(data: bytes, damaged: int | None) -> bytes:
    model = onnx.load_from_string(data)
    rng = np.random.default_rng(0)
    for tensor in model.graph.initializer:
        value = onnx.numpy_helper.to_array(tensor).copy()
        if tensor.name == "weight":
            value *= 1 + rng.normal(0, 0.02, value.shape).astype(np.float32)
        elif tensor.name == "bias" and damaged is not None:
            value[damaged] = -1e9
        tensor.CopyFrom(onnx.numpy_helper.from_array(value, tensor.name))
    return bytes(model.SerializeToString())
