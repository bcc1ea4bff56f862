"""Checkpoints of other repositories: read without running their code, keyed as our networks are."""

from __future__ import annotations

import argparse
import pickle
import re
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engines.failures import Refused
from train.checkpoint import read_weights

MAX_BYTES = 2 * 2**30  # a ResNet-101 DeepLab with Adam's state has 0.75 GB
WRAPPERS = ("state_dict", "model_state", "model_state_dict", "model")
# What training scripts store beside the weights: plain values, no code. NumPy 1 named its scalar
# constructor differently.
SCALAR: Any = np.float64(0).__reduce__()[0]
PLAIN: list[Any] = [
    argparse.Namespace,
    SCALAR,
    (SCALAR, "numpy.core.multiarray.scalar"),
    np.dtype,
    *(type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64)),
]

Weights = dict[str, Tensor]


def read_foreign(path: Path) -> Weights:
    """The network's tensors in a .pth, .pt, .tar or .safetensors, floats as FP32.

    Wrappers (`state_dict`, `model_state`, ...) and DataParallel's `module.` are taken off. A file
    that is too large, corrupt, holds code or no weights raises `Refused`.
    """
    check_size(path)
    content = read_weights(path) if path.suffix == ".safetensors" else read_pickle(path)
    for wrapper in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not content:
        raise Refused(f"{path} holds no weights, but a {type(content).__name__}")
    wrong = next((key for key, value in content.items() if not isinstance(value, Tensor)), None)
    if wrong is not None:
        raise Refused(
            f"{path} holds no state dict: {wrong!r} is a {type(content[wrong]).__name__}; "
            "save network.state_dict() where it was trained"
        )
    return {without_module(str(key)): as_float32(value) for key, value in content.items()}


def check_size(path: Path) -> None:
    """Refuse a missing file, and one that is or unpacks to more than `MAX_BYTES`."""
    if not path.is_file():
        raise Refused(f"no checkpoint at {path}: check the path given with --weights")
    size = max(path.stat().st_size, _unpacked(path))
    if size > MAX_BYTES:
        raise Refused(
            f"{path} has {size / 2**30:.1f} GiB, the limit is {MAX_BYTES / 2**30:.0f}: save only "
            "network.state_dict() where it was trained"
        )


def _unpacked(path: Path) -> int:
    """Bytes of what a zip archive holds; 0 of what is none, which reading it tells."""
    try:
        with zipfile.ZipFile(path) as archive:
            return sum(item.file_size for item in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct.error):
        return 0


def read_pickle(path: Path) -> Any:
    """What `torch.save` wrote: tensors, containers and plain values, nothing else."""
    try:
        with torch.serialization.safe_globals(PLAIN):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"needs the code of {found[1]} to be read" if found else "is no plain checkpoint"
        raise Refused(
            f"{path} {what}, and code from a checkpoint is not run here: load it where it was "
            "trained and save network.state_dict()"
        ) from error
    except Exception as error:  # its stack machine raises whatever damaged opcodes lead to
        reason = str(error).split("\n", 1)[0]
        raise Refused(
            f"{path} is no readable PyTorch checkpoint ({reason}): the download or copy may have "
            "broken off; fetch it again"
        ) from error


def without_module(key: str) -> str:
    """DataParallel prefixes every key with `module.`."""
    return key.removeprefix("module.")


def as_float32(value: Tensor) -> Tensor:
    """Floats as FP32; counters as they are."""
    return value.float() if value.is_floating_point() else value


# Auxiliary heads, and what stands in the file twice.
LEFT_OUT = {
    "torchvision": ("aux_classifier.",),
    "smp": ("classification_head.",),
    "vainf": ("aux_classifier.",),
    "jfzhang95": ("backbone.features.",),  # again as low_level_features and high_level_features
}


def rekey(repository: str, weights: Weights) -> Weights:
    """Another repository's keys -> those of our network of that layout, less what it lacks."""
    renames: dict[str, Callable[[str], str]] = {"smp": smp_key, "jfzhang95": jfzhang95_key}
    rename = renames.get(repository, str)
    if repository == "jfzhang95" and "decoder.last_conv.6.weight" in weights:
        weights = {without_dropout(key): value for key, value in weights.items()}
    return {
        rename(key): value
        for key, value in weights.items()
        if not key.startswith(LEFT_OUT[repository])
    }


def smp_key(key: str) -> str:
    """The library's key -> `SmpDeepLab`'s; before 0.4 the v3 decoder was a plain sequence."""
    key = re.sub(r"^encoder\.", "backbone.", key)
    key = re.sub(r"^segmentation_head\.0\.", "classifier.", key)
    old = {"0": "aspp", "1": "conv", "2": "bn"}
    return re.sub(r"^decoder\.([012])\.", lambda match: f"decoder.{old[match[1]]}.", key)


ASPP_KEYS = {
    **{f"aspp{n + 1}.atrous_conv": f"convs.{n}.0" for n in range(4)},
    **{f"aspp{n + 1}.bn": f"convs.{n}.1" for n in range(4)},
    "global_avg_pool.1": "convs.4.1",
    "global_avg_pool.2": "convs.4.2",
    "conv1": "project.0",
    "bn1": "project.1",
}
# index in the repository's flat MobileNetV2 block -> in torchvision's nested one
FIRST_BLOCK = {"0": "0.0", "1": "0.1", "3": "1", "4": "2"}  # it has no expansion
BLOCK = {"0": "0.0", "1": "0.1", "3": "1.0", "4": "1.1", "6": "2", "7": "3"}


def jfzhang95_key(key: str) -> str:
    """The repository's key -> `Jfzhang95DeepLab`'s."""
    pyramid = re.fullmatch(r"aspp\.(.+)\.(\w+)", key)
    if pyramid:
        return f"aspp.{ASPP_KEYS.get(pyramid[1], pyramid[1])}.{pyramid[2]}"
    block = re.fullmatch(r"(backbone\.\w+_level_features\.(\d+)\.conv)\.(\d)\.(\w+)", key)
    if block:
        inner = (FIRST_BLOCK if block[2] == "1" else BLOCK).get(block[3], block[3])
        return f"{block[1]}.{inner}.{block[4]}"
    return key


def without_dropout(key: str) -> str:
    """Earlier versions of the decoder had no dropout, so their layers stand at lower indices."""
    later = {"3": "4", "4": "5", "6": "8"}
    return re.sub(
        r"^(decoder\.last_conv)\.([346])\.", lambda match: f"{match[1]}.{later[match[2]]}.", key
    )
