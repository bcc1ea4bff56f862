"""A small DeepLab v3+ exported once: MobileNetV2 of width 0.35 on frames of 64x96."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from onnx import ModelProto
from torch import nn

from engines.spec import ModelSpec
from export.graph import export_graph
from train.checkpoint import save_checkpoint
from train.deployable import Deployable
from train.family import build_model

CLASSES = ("road", "sky", "tree", "car", "sign")


@dataclass(frozen=True)
class Small:
    """A network in PyTorch, and what the exporter made of it."""

    model: nn.Module
    spec: ModelSpec
    graph: ModelProto
    frames: list[NDArray[np.uint8]]


@pytest.fixture(scope="session")
def small() -> Small:
    """Random weights, with batch norms that have seen the frames and keep within ReLU6's range:
    else so deep a random network would blow every rounding up."""
    spec = ModelSpec(
        name="small",
        architecture="deeplabv3plus_mobilenetv2",
        classes=CLASSES,
        palette=((0, 0, 0),) * len(CLASSES),
        input_size=(64, 96),
        mean=(123.675, 116.28, 103.53),
        std=(58.395, 57.12, 57.375),
    )
    random = np.random.default_rng(5)
    coarse = random.integers(0, 256, (6, 8, 12, 3), np.uint8)
    frames = coarse.repeat(8, axis=1).repeat(8, axis=2)
    torch.manual_seed(0)
    model = Deployable(build_model("deeplabv3plus_mobilenetv2,width=0.35", len(CLASSES)), spec)
    for parameter in model.get_submodule("network.decoder.classifier").parameters():
        nn.init.normal_(parameter, std=0.1)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None
            nn.init.uniform_(layer.bias, 0.5, 3.5)  # mostly inside 0..6: little is clipped
    with torch.no_grad():
        model.train()(torch.from_numpy(frames))
    model.eval()
    return Small(model, spec, export_graph(model, spec), list(frames))


@pytest.fixture(scope="session")
def spec() -> ModelSpec:
    """A model to build: what it is called, sees and tells apart."""
    return ModelSpec(
        name="small",
        architecture="deeplabv3plus_mobilenetv2,width=0.35",
        classes=("Road", "Sky", "Car"),
        palette=((128, 64, 128), (128, 128, 128), (64, 0, 128)),
        input_size=(64, 96),
        mean=(127.5, 127.5, 127.5),
        std=(127.5, 127.5, 127.5),
    )


@pytest.fixture(scope="module")
def checkpoint(spec: ModelSpec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of that model, with its spec beside them."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("checkpoint") / "small.safetensors"
    save_checkpoint(path, build_model(spec.architecture, len(spec.classes)), spec)
    return path


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with every graph, of a network that keeps its errors small."""
    from tests.export.small_bundles import write_bundle

    return write_bundle(tmp_path_factory.mktemp("bundles") / "whole")
