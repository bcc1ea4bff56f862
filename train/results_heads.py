"""The heads that docs/results.md compares: trained alike, on one frozen trunk.

The trunk is copied into the folder once, so that heads trained later share it though the model
that ships may have been replaced since.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

from engines.failures import UsageError
from train.results_rows import HEADS

# Short, for two cores: a head alone learns fast, and all of them learn for as long.
SCHEDULE: dict[str, Any] = {
    "epochs": 5,
    "validate_every": 5,
    "batch": 8,
    "crop": (256, 320),
    "learning_rate": 2e-3,
    "ema": 0.98,
    "output_stride": 16,
    "freeze_backbone": True,
}
# What a reader must know of a run; the others are machine paths or defaults of train/fit.py.
TOLD = ("epochs", "batch", "crop", "learning_rate", "ema", "output_stride", "scale", "seed", "mix")


def head_checkpoint(folder: Path, name: str) -> Path:
    """Where the weights of head `name` are kept, trained or not."""
    return folder / name / f"{name}.safetensors"


def trunk_checkpoint(folder: Path) -> Path:
    """Where the trunk of all heads is kept."""
    return folder / "trunk.safetensors"


def train_missing(folder: Path, models: Collection[str], data: str, threads: int) -> None:
    """Train the heads among `models` that `folder` lacks, or go on with an interrupted run."""
    from train import fit
    from train.fit_options import Options

    keep_trunk(folder)
    for name, architecture in HEADS.items():
        if name not in models or is_trained(folder, name):
            continue
        options = Options(
            data=(data,),
            architecture=architecture,
            name=name,
            run=folder / name,
            init_backbone=trunk_checkpoint(folder),
            resume=(folder / name / "state.pt").is_file(),
            threads=threads,
            **SCHEDULE,
        )
        print(f"training {name}: {architecture}", flush=True)
        fit.run(options)


def keep_trunk(folder: Path) -> None:
    """Copy the bundled model, unless the folder has its trunk already."""
    from train.checkpoint import bundled

    target = trunk_checkpoint(folder)
    if target.is_file():
        return
    if any(head_checkpoint(folder, name).is_file() for name in HEADS):
        raise UsageError(f"{folder} holds heads without their {target.name}: choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(bundled().with_suffix(".json"), target.with_suffix(".json"))
    shutil.copyfile(bundled(), target)


def is_trained(folder: Path, name: str) -> bool:
    """Whether a head's run has come to its end."""
    state = folder / name / "state.pt"
    return state.is_file() and len(saved(folder, name)["history"]) == SCHEDULE["epochs"]


def training_of(folder: Path, name: str) -> dict[str, str]:
    """The settings that a head was trained with, as its run has them."""
    settings = saved(folder, name)["settings"]
    return {key: settings[key] for key in TOLD}


def saved(folder: Path, name: str) -> dict[str, Any]:
    """The last state of a head's run."""
    from train.trainer import read_state

    return read_state(folder / name / "state.pt")
