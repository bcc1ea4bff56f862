"""Quantization-aware training: the exported graph, with INT8's rounding where its Q/DQ twin has it.

What is trained is the very graph that is deployed, batch norm folded, so nothing can be quantized
here that is not quantized there. `export/fine_tuning.py` finds the places and opens a checkpoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from onnx import ModelProto
from torch import Tensor, nn

from train.fake_quantise import REACH, fake_quantise, fake_quantise_weight, half_precision
from train.network import Network
from train.operators import OPERATORS
from train.program import ENTRY, Program, Step, read_program, weights_of


@dataclass(frozen=True)
class Places:
    """Where a Q/DQ graph quantizes.

    `activations` are the (node, input slot) that read a quantized tensor, `weights` the nodes with
    an INT8 weight (True: rounded so that each filter keeps its sum), `steps` the step of each
    quantized tensor. No range is narrower than `smallest_range`.
    """

    activations: frozenset[tuple[str, int]]
    weights: dict[str, bool]
    steps: dict[str, float]
    smallest_range: float


class FakeQuantised(Network):
    """A graph of `export.graph` as a network: its weights under their own names
    (`backbone.conv_stem.weight`), and the logarithm of each activation's step, which is learned.

    `graphs` are exports of one network for images of different sizes.
    """

    def __init__(self, graphs: Sequence[ModelProto], places: Places) -> None:
        super().__init__()
        self.places = places
        self.programs = {program.size: program for program in map(read_program, graphs)}
        for name, value in weights_of(graphs[0]):
            plant(self, name, nn.Parameter(value))
        # The logarithm, so that the optimiser's steps are relative and a range stays positive
        # (Jain et al. 2020, "Trained Quantization Thresholds", section 3.3).
        self.log_steps = nn.Parameter(torch.tensor(list(places.steps.values())).log())

    def head_parameters(self) -> list[nn.Parameter]:
        """The weights outside the trunk: neither it nor the steps."""
        return [p for p in super().head_parameters() if p is not self.log_steps]

    def step_parameters(self) -> list[nn.Parameter]:
        """One vector, in the order of `places.steps`."""
        return [self.log_steps]

    def weights(self) -> dict[str, Tensor]:
        """Weight and bias of each convolution by name, unquantized, on the CPU."""
        own = ((name, value) for name, value in self.named_parameters() if name != "log_steps")
        return {name: value.detach().cpu() for name, value in own}

    def reaches(self) -> dict[str, float]:
        """What each quantized activation's symmetric range reaches to, as learned."""
        steps = self.steps().detach().double().tolist()
        return {name: REACH * step for name, step in zip(self.places.steps, steps, strict=True)}

    def steps(self) -> Tensor:
        """The step of each quantized activation, one that FP16 has."""
        return half_precision(self.log_steps.exp(), self.places.smallest_range / REACH)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images [N, 3, H, W], of a size that was exported, -> logits."""
        size = (images.shape[2], images.shape[3])
        if size not in self.programs:
            raise ValueError(f"images are {size}, the graphs are for {list(self.programs)}")
        return Pass(self, self.programs[size]).logits(images)


class Pass:
    """A forward pass: the values that a later step will read, and the quantized ones of them."""

    def __init__(self, network: FakeQuantised, program: Program) -> None:
        self.places, self.program = network.places, program
        self.weights = dict(network.named_parameters())
        self.steps = dict(zip(network.places.steps, network.steps().unbind(), strict=True))
        self.values: dict[str, Tensor] = {}
        self.quantized: dict[str, Tensor] = {}

    def logits(self, images: Tensor) -> Tensor:
        """Every step in order."""
        self.values[ENTRY] = images
        for step in self.program.steps:
            self.values[step.output] = self.compute(step)
            for name in step.last:
                self.values.pop(name, None)
                self.quantized.pop(name, None)
        return self.values[self.program.steps[-1].output]

    def compute(self, step: Step) -> Tensor:
        """The result of one step."""
        inputs = [self.read(step, slot) for slot in range(len(step.inputs))]
        return OPERATORS[step.kind](step.attributes, *inputs)

    def read(self, step: Step, slot: int) -> Any:
        """What a step finds at one of its inputs; None where it is left out."""
        name = step.inputs[slot]
        if name in self.weights:
            return self.weight(step, name, slot)
        if (step.name, slot) in self.places.activations:
            if name not in self.quantized:
                self.quantized[name] = fake_quantise(self.values[name], self.steps[name])
            return self.quantized[name]
        return self.values[name] if name in self.values else self.program.constants.get(name)

    def weight(self, step: Step, name: str, slot: int) -> Tensor:
        """A weight, on its grid where the Q/DQ graph has it so; a bias as it is."""
        weight, places = self.weights[name], self.places
        if slot != 1 or step.name not in places.weights:
            return weight
        return fake_quantise_weight(weight, places.smallest_range, places.weights[step.name])


def plant(root: nn.Module, name: str, parameter: nn.Parameter) -> None:
    """Register a parameter under a dotted name, with a module for each part of the path."""
    *path, leaf = name.split(".")
    for part in path:
        if part not in dict(root.named_children()):
            root.add_module(part, nn.Module())
        root = root.get_submodule(part)
    root.register_parameter(leaf, parameter)
