"""Breaks one layer of a bundle's graphs and signs the bundle again, as a faulty exporter would."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

import onnx
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from calibration.graphs.wiring import Wiring
from engines.manifest import NAME, Manifest

Fault = Callable[[ModelProto], None]


def with_fault(bundle: Path, copy: Path, files: Collection[str], fault: Fault) -> Path:
    """A copy of a bundle in which `fault` was done to these ONNX files, and the hashes fit."""
    shutil.copytree(bundle, copy)
    manifest = Manifest.load(copy)
    entries = []
    for entry in manifest.files:
        if entry.name in files:
            model = onnx.load(copy / entry.name)
            fault(model)
            data = model.SerializeToString()
            (copy / entry.name).write_bytes(data)
            entry = replace(entry, sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))
        entries.append(entry)
    signed = replace(manifest, files=tuple(entries)).to_json()
    (copy / NAME).write_text(json.dumps(signed))
    return copy


def other_rate(layer: str, rate: int) -> Fault:
    """A convolution with another dilation, and the padding that goes with it."""

    def fault(model: ModelProto) -> None:
        for attribute in find(model, layer).attribute:
            if attribute.name == "dilations":
                attribute.ints[:] = [rate, rate]
            elif attribute.name == "pads":
                attribute.ints[:] = [rate] * 4

    return fault


def scaled_weights(layer: str, factor: float) -> Fault:
    """A convolution whose weights are `factor` times what they should be; its bias stays."""

    def fault(model: ModelProto) -> None:
        tensor = weight_of(find(model, layer), Wiring(model))
        value = numpy_helper.to_array(tensor)
        tensor.CopyFrom(numpy_helper.from_array((value * factor).astype(value.dtype), tensor.name))

    return fault


def weight_of(node: NodeProto, wiring: Wiring) -> TensorProto:
    """The float numbers that scale with a convolution's weights: they, or their INT8 scales."""
    dequantize = wiring.producer.get(node.input[1])
    name = str(node.input[1] if dequantize is None else dequantize.input[1])
    tensor: TensorProto = wiring.constants[name]
    return tensor


def find(model: ModelProto, layer: str) -> NodeProto:
    """The node of this name."""
    found: NodeProto = next(node for node in model.graph.node if node.name == layer)
    return found
