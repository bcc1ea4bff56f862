"""The weights that a training run starts from, and the teacher it learns from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from engines.failures import Refused
from engines.spec import ModelSpec, load_spec
from scenes.dataset import Scene
from train.checkpoint import fill, load_model, read_weights
from train.deployable import Normalise
from train.fit_options import Options
from train.initial_weights import import_folded
from train.network import Network


def initialise(network: Network, options: Options, spec: ModelSpec, scenes: list[Scene]) -> None:
    """Fill the backbone from a folded .npz or a checkpoint, or the whole network from one."""
    path = options.init or options.init_backbone
    if path is None:
        return
    if path.suffix == ".npz":
        import_folded(network.backbone, path, normalised_batches(scenes, spec))
    elif options.init:
        check_classes(path, spec)
        fill(network, read_weights(path), path)
    else:
        parts = [(name.partition("."), value) for name, value in read_weights(path).items()]
        trunk = {name: value for (part, _, name), value in parts if part == "backbone"}
        fill(network.backbone, trunk, path)


def check_classes(path: Path, spec: ModelSpec) -> None:
    """A checkpoint of another class count than the data's raises `Refused`."""
    beside = path.with_suffix(".json")
    theirs = len(load_spec(beside).classes) if beside.exists() else len(spec.classes)
    if theirs != len(spec.classes):
        raise Refused(
            f"{path} was trained for {theirs} classes, but the frames of "
            f"--data have {len(spec.classes)}: take its trunk alone with --init-backbone"
        )


def normalised_batches(scenes: list[Scene], spec: ModelSpec, batch: int = 8) -> Iterator[Tensor]:
    """The scenes' frames as network input [N, 3, H, W]."""
    normalise = Normalise(spec)
    for start in tqdm(range(0, len(scenes), batch), "measuring batch norm", disable=None):
        frames = np.stack([scene.frame for scene in scenes[start : start + batch]])
        yield normalise(torch.from_numpy(frames).permute(0, 3, 1, 2))


def open_teacher(path: Path, spec: ModelSpec) -> nn.Module:
    """The network that `--teacher` names; one of other classes or preprocessing raises
    `Refused`."""
    network, other = load_model(path)
    if (other.classes, other.mean, other.std) != (spec.classes, spec.mean, spec.std):
        raise Refused(
            f"the teacher {path} has other classes or another normalisation than this run: train "
            "one on the same --data"
        )
    return network
