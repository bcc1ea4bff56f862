"""Which network of another repository a state dict belongs to: the one whose tensors it has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import Module

from engines.failures import Refused
from engines.spec import ModelSpec
from train.family import build_model
from train.foreign.architecture import REPOSITORIES
from train.foreign.checkpoint import Weights
from train.network import Network

Shape = tuple[int, ...] | None
Misfits = dict[str, tuple[Shape, Shape]]  # by key: in the file, in the network

COUNTER = "num_batches_tracked"  # of batch norms; PyTorch before 0.4.1 did not store it


@dataclass(frozen=True)
class Candidates:
    """The networks to try: a repository's, with what the user said of a network of smp."""

    repository: str
    encoder: str | None = None
    rates: str | None = None

    def names(self, weights: Weights) -> Iterator[str]:
        """Architecture strings; smp's number of channels is read off the weights."""
        for name in REPOSITORIES[self.repository]:
            if self.repository != "smp":
                yield f"{self.repository}_{name}"
                continue
            modifiers = f"encoder={self.encoder}"
            classifier = weights.get("classifier.weight")
            if classifier is not None and classifier.shape[1] != 256:
                modifiers += f",channels={classifier.shape[1]}"
            if self.rates:
                modifiers += f",rates={self.rates}"
            yield f"smp_{name},{modifiers}"
            yield f"smp_{name},{modifiers},{'dense' if name == 'deeplabv3plus' else 'separable'}"


def recognise(weights: Weights, candidates: Candidates, classes: int, source: Path) -> str:
    """The architecture with exactly these tensors; none, or another number of classes, raises
    `Refused`."""
    misfits = {}
    for name in candidates.names(weights):
        misfits[name] = misfitting(weights, without_weights(name, classes))
        if not misfits[name]:
            return name
    nearest = min(misfits, key=lambda name: len(misfits[name]))
    raise Refused(f"{source} {why(nearest, misfits[nearest], classes)}")


def why(nearest: str, misfits: Misfits, classes: int) -> str:
    """What keeps a state dict from the network it fits best."""
    key, (theirs, ours) = next(iter(misfits.items()))
    if theirs and all(a and b and a[1:] == b[1:] for a, b in misfits.values()):
        return (
            f"was trained for {theirs[0]} classes, but --classes names {classes}: give a "
            "classes.json with its classes in its order"
        )
    return (
        f"is none of the networks that --from chooses from; nearest is {nearest}, where {key} is "
        f"{ours or 'absent'} and in the file {theirs or 'absent'}"
    )


def misfitting(weights: Weights, network: Module) -> Misfits:
    """The tensors that are not of one shape in both."""
    ours = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    theirs = {key: tuple(value.shape) for key, value in weights.items()}
    return {
        key: (theirs.get(key), ours.get(key))
        for key in sorted(ours.keys() | theirs.keys())
        if theirs.get(key) != ours.get(key) and not key.endswith(COUNTER)
    }


def without_weights(name: str, classes: int, output_stride: int | None = None) -> Network:
    """A network on the meta device: shapes without memory."""
    with torch.device("meta"):
        return build_model(name, classes, output_stride)


def complete(weights: Weights, network: Module) -> Weights:
    """The weights with every counter that the file lacks at 0; a NaN or infinity among them raises
    `Refused`."""
    for key, value in weights.items():
        if not torch.isfinite(value).all():
            raise Refused(f"{key} holds a value that is no number: the training had diverged")
    counters = {key: value for key, value in network.state_dict().items() if key.endswith(COUNTER)}
    return {key: torch.zeros_like(value) for key, value in counters.items()} | weights


def check_size(spec: ModelSpec) -> None:
    """Refuse an input size at which the network does not run, or gives logits of another size."""
    network = without_weights(spec.architecture, len(spec.classes), spec.output_stride).eval()
    height, width = spec.input_size
    try:
        logits: Tensor = network(torch.empty(1, 3, height, width, device="meta"))
        fits = tuple(logits.shape[2:]) == spec.logits_size
    except RuntimeError:  # maps that should be joined differ in size
        fits = False
    if not fits:
        raise Refused(
            f"{spec.architecture} does not run at {height}x{width}: choose an --input-size whose "
            "sides are multiples of 32"
        )
