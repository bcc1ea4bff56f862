"""What one process sees of an epoch: its part of each global batch, augmented as anywhere else."""

from __future__ import annotations

import numpy as np
import torch
from torch.utils.data import Dataset

from train import processes
from train.class_mix import Sample
from train.samples import Samples


class Shard(Dataset[Sample]):
    """The samples of one process, in the order of the steps.

    The epoch's order is cut into global batches and those among the processes by rank. A sample's
    augmentation is drawn from (seed, epoch, sample), whoever computes it.
    """

    def __init__(self, samples: Samples, batch: int, seed: int, epoch: int) -> None:
        """`batch` is the global one, a multiple of the number of processes."""
        self._samples, self._seed, self._epoch = samples, seed, epoch
        order = torch.randperm(len(samples), generator=generator(seed, epoch))
        steps, parts = len(samples) // batch, processes.count()
        batches = order[: steps * batch].view(steps, parts, batch // parts)
        self._indices: list[int] = batches[:, processes.rank()].flatten().tolist()

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, position: int) -> Sample:
        index = self._indices[position]
        with torch.random.fork_rng(devices=[]):  # torch.manual_seed would reseed GPUs, too
            torch.default_generator.manual_seed(mixed(self._seed, self._epoch, index))
            return self._samples[index]


def generator(*numbers: int) -> torch.Generator:
    """A random stream of its own for `numbers`."""
    return torch.Generator().manual_seed(mixed(*numbers))


def mixed(*numbers: int) -> int:
    """A seed from several numbers; neighbours give unrelated ones."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))
