"""The training loop: AdamW with a poly schedule, an averaged copy of the weights, exact resume.

One process or many: the same global batches, the same loss, the same weights up to rounding.
"""

from __future__ import annotations

import csv
import io
import pickle
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader
from tqdm import tqdm

from engines.atomic import replacing, write_text
from engines.failures import Failure, Refused, UsageError
from engines.spec import ModelSpec
from train import processes
from train.arithmetic import widen_slow_depthwise
from train.deployable import Normalise
from train.dropout import globalise_dropout
from train.fit_options import Options
from train.losses import distillation_loss, segmentation_loss
from train.network import STEPS_RATE, Network
from train.samples import Samples
from train.shard import Shard
from train.sync_bn import synchronise_batch_norm

POLY_POWER = 0.9  # DeepLab v3, section 4.1, "Learning rate policy"
PRECISIONS = {"bf16": "bf16-mixed", "fp32": "32-true"}  # ours -> Fabric's


class Trainer:
    """Everything that changes during a run. `state()` after an epoch and `resume()` are exact:
    each epoch draws its order, crops and dropout from a seed of its own."""

    def __init__(
        self, network: Network, spec: ModelSpec, options: Options, weights: Tensor, steps: int
    ) -> None:
        self.options = options
        self.fabric = processes.connect(PRECISIONS[options.precision])
        if options.batch % processes.count():
            raise UsageError(
                f"--batch {options.batch}, the global batch, does not divide among "
                f"{processes.count()} processes: choose a multiple"
            )
        network = network.to(memory_format=torch.channels_last)
        widen_slow_depthwise(network)
        globalise_dropout(network)
        if processes.count() > 1:
            synchronise_batch_norm(network, self.fabric.device)
        rate = options.learning_rate
        groups: list[dict[str, Any]] = [{"params": network.head_parameters(), "lr": rate}]
        if options.freeze_backbone:
            network.backbone.requires_grad_(False)
        else:
            trunk = network.backbone.parameters()
            groups.insert(0, {"params": trunk, "lr": rate * options.backbone_rate})
        if network.step_parameters():
            learned, faster = network.step_parameters(), rate * STEPS_RATE
            groups.insert(0, {"params": learned, "lr": faster, "weight_decay": 0.0})
        optimizer = torch.optim.AdamW(groups, lr=rate, weight_decay=options.weight_decay)
        self.steps, total = steps, options.epochs * steps
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: max(0.0, 1 - step / total) ** POLY_POWER
        )
        self.network, self.optimizer = self.fabric.setup(network, optimizer)
        self.averaged = AveragedModel(
            network, multi_avg_fn=average_with(options.ema), use_buffers=True
        )
        self.normalise = self.fabric.to_device(Normalise(spec))
        self.class_weights = self.fabric.to_device(weights)
        self.teacher: nn.Module | None = None
        self.history: list[dict[str, float | None]] = []

    @property
    def epoch(self) -> int:
        """Epochs done."""
        return len(self.history)

    @property
    def leads(self) -> bool:
        """Whether this process writes the run's files."""
        return processes.rank() == 0

    @property
    def average(self) -> nn.Module:
        """The network with averaged weights: what is validated and shipped."""
        return self.averaged.module

    def learn_from(self, teacher: nn.Module) -> None:
        """Add `teacher_weight` times the divergence from this network's answers to the loss."""
        self.teacher = self.fabric.to_device(teacher.to(memory_format=torch.channels_last))

    def train_epoch(self, samples: Samples) -> dict[str, float | None]:
        """One pass over the samples; returns its line of the log."""
        options = self.options
        torch.manual_seed(options.seed * 10_000 + self.epoch)
        loader = self.fabric.setup_dataloaders(
            # no worker processes: a sample takes 3 ms, a step of 8 takes 1.5 s (2-core Xeon)
            DataLoader(
                Shard(samples, options.batch, options.seed, self.epoch),
                options.batch // processes.count(),
            ),
            use_distributed_sampler=False,
        )
        self.network.train()
        if self.options.freeze_backbone:
            self.network.module.backbone.eval()  # else its batch norms would go on moving
        started, rate, total = time.perf_counter(), float(self.schedule.get_last_lr()[-1]), 0.0
        label = f"epoch {self.epoch + 1}/{self.options.epochs}"
        for batch in tqdm(loader, label, disable=None):
            total += self.step(batch)
        self.check_weights()
        return {
            "epoch": self.epoch + 1,
            "loss": total / len(loader),
            "learning_rate": rate,
            "seconds": time.perf_counter() - started,
        }

    def step(self, batch: Sequence[Tensor]) -> float:
        """One optimiser step; returns the loss."""
        images, labels = batch
        inputs = self.normalise(images).to(memory_format=torch.channels_last)
        logits = self.network(inputs)
        loss = segmentation_loss(logits, labels, self.class_weights, self.options.lovasz)
        if self.teacher is not None:
            with torch.no_grad(), self.fabric.autocast():
                answers = self.teacher(inputs)
            loss = loss + self.options.teacher_weight * distillation_loss(logits, answers)
        if not torch.isfinite(loss):
            raise self.diverged(f"the loss is {loss.item()}")
        self.optimizer.zero_grad()
        self.fabric.backward(loss)
        self.optimizer.step()
        self.schedule.step()
        self.averaged.update_parameters(self.network.module)
        return loss.item()

    def check_weights(self) -> None:
        """After the last step no loss would tell that the weights have burst."""
        if not all(torch.isfinite(value).all() for value in self.average.state_dict().values()):
            raise self.diverged("the weights are not finite")

    def diverged(self, what: str) -> Failure:
        """What to say when training has burst; the files of the last epoch stay as they are."""
        step = min(self.schedule.last_epoch - self.epoch * self.steps + 1, self.steps)
        kept = f"; the weights of epoch {self.epoch} are kept" if self.epoch else ""
        return Failure(
            f"{what} in epoch {self.epoch + 1}, step {step} of {self.steps}: a learning rate too "
            f"high is the likely cause; start again with a lower --learning-rate{kept}"
        )

    def parts(self) -> dict[str, Any]:
        """What has a state_dict."""
        return {
            "network": self.network.module,
            "averaged": self.averaged,
            "optimizer": self.optimizer,
            "schedule": self.schedule,
        }

    def save(self, folder: Path) -> None:
        """Write `state.pt` and `log.csv` atomically."""
        state = {name: part.state_dict() for name, part in self.parts().items()}
        state |= {"history": self.history, "settings": self.options.settings()}
        try:
            with replacing(folder / "state.pt") as path:
                torch.save(state, path)
        except RuntimeError as error:  # what torch makes of a full disk
            reason = str(error).split("\n", 1)[0]
            raise Failure(
                f"{folder / 'state.pt'} cannot be written ({reason}): the disk may be full; free "
                "some space, and --resume goes on behind the last epoch that is in it"
            ) from error
        text = io.StringIO()
        fields = ("epoch", "loss", "learning_rate", "seconds", "miou")
        writer = csv.DictWriter(text, fields, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.history)
        write_text(folder / "log.csv", text.getvalue())

    def resume(self, folder: Path) -> None:
        """Go on from `state.pt`; a missing, corrupt or different run raises `Refused`. It is read
        where it was written, by the first process."""
        state = self.fabric.broadcast(read_state(folder / "state.pt") if self.leads else {})
        # an option that is younger than the saved run had its default there
        settings = Options(data=()).settings() | state["settings"]
        if settings != self.options.settings():
            raise Refused(
                f"{folder} is of a run with other settings: repeat its flags, or use another "
                "--run-dir"
            )
        for name, part in self.parts().items():
            part.load_state_dict(state[name])
        self.history = state["history"]
        if self.schedule.last_epoch != self.epoch * self.steps:
            before = self.schedule.last_epoch // max(self.epoch, 1)
            raise Refused(
                f"{folder} is of a run with {before} steps an epoch, and these frames make "
                f"{self.steps}: give it the frames that it began with, or use another --run-dir"
            )


def read_state(path: Path) -> dict[str, Any]:
    """What `Trainer.save` wrote; a missing or corrupt file raises `Refused`."""
    if not path.exists():
        raise Refused(f"no run to resume at {path}: start it without --resume")
    try:
        if not zipfile.is_zipfile(path):  # torch.load would try to unpickle it
            raise ValueError("not a file of torch.save")
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, pickle.UnpicklingError) as error:
        raise Refused(
            f"{path} is not a readable run state ({error}): start the run anew"
        ) from error
    return state


def average_with(decay: float) -> Any:
    """An update rule for `AveragedModel`: exponential, and faster at first so that the random
    start is forgotten ((1 + n) / (10 + n), as in TensorFlow's ExponentialMovingAverage)."""

    @torch.no_grad()
    def update(averages: list[Tensor], values: list[Tensor], count: Tensor) -> None:
        keep = min(decay, (1 + float(count)) / (10 + float(count)))
        for average, value in zip(averages, values, strict=True):
            if average.is_floating_point():
                average.lerp_(value, 1 - keep)
            else:
                average.copy_(value)

    return update
