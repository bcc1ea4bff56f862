"""A whole bundle of a small network: its map is 4x14 at output stride 16, so that rates matter."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn

from calibration.calibrate import Calibration
from calibration.graphs.quantized import quantized
from calibration.scheme import Scheme
from engines.bundle import BundleWriter, Golden, writing_bundle
from engines.labels import upsample_argmax
from engines.manifest import Manifest
from engines.onnxruntime_session import OnnxRuntimeSession
from engines.spec import ModelSpec
from export.graph import export_graph
from export.graphs import add_graph
from export.half import to_half
from train.checkpoint import save_checkpoint
from train.deployable import Deployable
from train.family import build_model, parse
from train.layers import Classifier

MOBILENET = "deeplabv3plus_mobilenetv2,width=0.35"
SIZE = (64, 224)
CLASSES = ("road", "sky", "tree", "car")


class Frames(list[NDArray[np.uint8]]):
    """Frames that know their digest, as calibration wants them."""

    def digest(self) -> str:
        return hashlib.sha256(b"".join(frame.tobytes() for frame in self)).hexdigest()


def frames(count: int = 4, size: tuple[int, int] = SIZE) -> Frames:
    """Blocks of random colours."""
    blocks = [-(-pixels // 8) for pixels in size]
    coarse = np.random.default_rng(5).integers(0, 256, (count, *blocks, 3)).astype(np.uint8)
    fine = coarse.repeat(8, axis=1).repeat(8, axis=2)
    return Frames(np.ascontiguousarray(fine[:, : size[0], : size[1]]))


def sane_network(architecture: str, spec: ModelSpec) -> Deployable:
    """Random weights whose batch norms have seen the frames and keep activations mostly within
    0..6: else so deep a random network blows every rounding up."""
    torch.manual_seed(0)
    model = Deployable(build_model(architecture, len(CLASSES)), spec)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None
            nn.init.uniform_(layer.bias, 0.5, 3.5)
        elif isinstance(layer, Classifier):
            nn.init.normal_(layer.weight, std=0.1)
    with torch.no_grad():
        model.train()(torch.from_numpy(np.stack(frames(size=spec.input_size))))
    for name, layer in model.named_modules():
        if name.endswith("aspp.pooling.project.bn"):
            # Over the means of four frames alone; divided by them, FP16 keeps 43 dB of its result.
            layer.reset_running_stats()
    return model.eval()


def spec_of(architecture: str, size: tuple[int, int] = SIZE) -> ModelSpec:
    """A model of four classes."""
    parsed = parse(architecture)
    return ModelSpec(
        name="small",
        architecture=architecture,
        classes=CLASSES,
        palette=((0, 0, 0),) * len(CLASSES),
        input_size=size,
        mean=(127.5,) * 3,
        std=(127.5,) * 3,
        output_stride=parsed.output_stride(),
        logits_stride=parsed.logits_stride(),
    )


def write_bundle(
    root: Path,
    architecture: str = MOBILENET,
    size: tuple[int, int] = SIZE,
    checkpoint: bool = True,
    int8: str | None = "minmax+equalise+bias",
) -> Path:
    """A bundle with FP32, FP16 and, by the scheme `int8`, both INT8 flavours."""
    spec = spec_of(architecture, size)
    model = sane_network(architecture, spec)
    graph = export_graph(model, spec)
    pictures = frames(size=size)
    provenance: dict[str, Any] = {"source": "small.safetensors" if checkpoint else "small.onnx"}
    with writing_bundle(root) as writer:
        if checkpoint:
            name = "checkpoint.safetensors"
            save_checkpoint(writer.path(name), model.network, spec)
            writer.path("checkpoint.json").unlink()
            writer.add(name, "checkpoint")
        add_graph(writer, "fp32.onnx", graph, precision="fp32")
        add_graph(writer, "fp16.onnx", to_half(graph), precision="fp16")
        if int8 is not None:
            calibration = Calibration(graph, "m", spec, pictures)  # type: ignore[arg-type]
            ranges = calibration.ranges(Scheme.parse(int8))
            ranges.save(writer.path("ranges.json"))
            writer.add("ranges.json", "ranges")
            u8, s8 = quantized(graph, ranges, "u8"), quantized(graph, ranges, "s8")
            add_graph(writer, "int8_u8.onnx", u8, precision="int8", flavour="u8")
            add_graph(writer, "int8_s8.onnx", to_half(s8), precision="int8", flavour="s8")
        _add_golden(writer, graph, spec, pictures)
        writer.finish(Manifest(spec, "fp16" if int8 is None else "int8", (), provenance))
    return root


def _add_golden(
    writer: BundleWriter, graph: onnx.ModelProto, spec: ModelSpec, pictures: Frames
) -> None:
    with OnnxRuntimeSession(graph.SerializeToString(), spec, "fp32") as session:
        logits = [session.run(frame[None])[0] for frame in pictures[:2]]
    labels = [upsample_argmax(item, spec.input_size) for item in logits]
    pairs = zip(pictures[:2], labels, strict=True)
    writer.add_golden([Golden(frame, mask) for frame, mask in pairs])
