"""The parts of a training step equal those of one process when two share its batch.

Two threads play the two processes, so that a failure shows at once where it is; whole runs under
torchrun are in test_torchrun.py.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn
from torch.nn import functional

from engines.spec import ModelSpec
from scenes.dataset import IGNORE, Dataset, Frame, Scene, open_dataset
from train import processes
from train.dropout import globalise_dropout
from train.evaluation import Logits, mean_iou, score
from train.losses import distillation_loss, segmentation_loss
from train.samples import Samples, augmentation
from train.shard import Shard
from train.sync_bn import CpuSyncBatchNorm, CpuSyncBatchNormAct, synchronise_batch_norm

TWO = range(2)


class Pair:
    """Two threads in place of two processes: what `processes` asks of torch.distributed."""

    def __init__(self) -> None:
        self._barrier = threading.Barrier(2, timeout=30)
        self._slots: dict[int, Any] = {}
        self._thread = threading.local()

    def rank(self) -> int:
        return int(self._thread.rank)

    def gathered(self, value: Any) -> list[Any]:
        self._slots[self.rank()] = value
        self._barrier.wait()
        values = [copy.deepcopy(self._slots[rank]) for rank in TWO]  # pickled, in truth
        self._barrier.wait()
        return values

    def summed(self, value: Tensor) -> Tensor:
        first, second = self.gathered(value.detach().clone())
        return torch.add(first, second)

    def act(self, work: Callable[[int], Any], rank: int, results: dict[int, Any]) -> None:
        self._thread.rank = rank
        try:
            results[rank] = work(rank)
        except BaseException:
            self._barrier.abort()
            raise


def by_two(work: Callable[[int], Any]) -> list[Any]:
    """work(0) and work(1), side by side, as processes 0 and 1 of two."""
    pair, results = Pair(), dict[int, Any]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processes, "count", lambda: 2)
        patch.setattr(processes, "rank", pair.rank)
        patch.setattr(processes, "_summed", pair.summed)
        patch.setattr(processes, "gathered", pair.gathered)
        threads = [threading.Thread(target=pair.act, args=(work, r, results)) for r in TWO]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return [results[rank] for rank in TWO]


def averaged(gradients: list[Tensor]) -> Tensor:
    """What DDP makes of the processes' gradients of one parameter."""
    return torch.stack(gradients).mean(dim=0)


def backward(loss: Tensor) -> None:
    loss.backward()  # type: ignore[no-untyped-call]


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(3, 6, 3, bias=False),
        BatchNormAct2d(6),
        nn.Conv2d(6, 5, 3, bias=False),
        nn.BatchNorm2d(5, momentum=0.3),
    )
    for layer in (layers[1], layers[3]):
        for parameter in layer.parameters():
            nn.init.normal_(parameter)
    return layers


def test_batch_norm_sees_the_global_batch(network: nn.Module) -> None:
    images, target = random(4, 3, 9, 11), random(4, 5, 5, 7)
    alone = copy.deepcopy(network)
    expected = alone(images)
    backward(functional.mse_loss(expected, target, reduction="sum"))

    def work(rank: int) -> tuple[nn.Module, Tensor]:
        mine = copy.deepcopy(network)
        synchronise_batch_norm(mine, torch.device("cpu"))
        kinds = [type(layer) for layer in mine.children()]
        assert kinds[1::2] == [CpuSyncBatchNormAct, CpuSyncBatchNorm]
        output = mine(images.chunk(2)[rank])
        loss = functional.mse_loss(output, target.chunk(2)[rank], reduction="sum")
        backward(processes.total(loss))
        return mine, output

    (first, upper), (second, lower) = by_two(work)
    torch.testing.assert_close(torch.cat([upper, lower]), expected)
    for name, one in alone.named_parameters():
        grads = [dict(part.named_parameters())[name].grad for part in (first, second)]
        torch.testing.assert_close(averaged(grads), one.grad, rtol=1e-4, atol=1e-4)
    for part in (first, second):
        assert part.state_dict().keys() == network.state_dict().keys()
        for name, value in alone.named_buffers():
            torch.testing.assert_close(dict(part.named_buffers())[name], value)
        torch.testing.assert_close(part.eval()(images), alone.eval()(images))


def test_losses_are_those_of_the_global_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Void pixels and classes lie unevenly among the two; one of them may have no label at all."""
    logits, teacher = random(4, 3, 5, 6), random(4, 3, 4, 4)
    labels = torch.randint(3, (4, 20, 24), generator=torch.Generator().manual_seed(1))
    labels[:2] = IGNORE
    labels[2, :7] = IGNORE
    weights = torch.tensor([1.0, 2.0, 5.0])
    draw = torch.randint
    monkeypatch.setattr(  # threads share one random stream, processes have one each
        torch,
        "randint",
        lambda high, shape, device: draw(high, shape, generator=torch.Generator().manual_seed(2)),
    )

    def losses(part: slice) -> tuple[Tensor, Tensor]:
        mine = logits[part].clone().requires_grad_()
        loss = segmentation_loss(mine, labels[part], weights, lovasz=0.5)
        loss = loss + distillation_loss(mine, teacher[part])
        backward(loss)
        assert mine.grad is not None
        return loss.detach(), mine.grad

    expected, gradient = losses(slice(4))
    (one, upper), (two, lower) = by_two(lambda rank: losses(slice(2 * rank, 2 * rank + 2)))
    torch.testing.assert_close(torch.stack([one, two]), expected.expand(2))
    torch.testing.assert_close(torch.cat([upper, lower]) / 2, gradient)  # DDP divides by two


def test_dropout_has_the_mask_of_the_global_batch() -> None:
    layer, features = nn.Sequential(nn.Dropout(0.4)), torch.ones(4, 6, 5, 5)
    globalise_dropout(layer)
    torch.manual_seed(3)
    whole = layer(features)
    assert whole.unique().tolist() == pytest.approx([0, 1 / 0.6])
    assert (whole == 0).float().mean().item() == pytest.approx(0.4, abs=0.06)
    for rank in TWO:
        torch.manual_seed(3)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(processes, "count", lambda: 2)
            patch.setattr(processes, "rank", lambda rank=rank: rank)
            assert torch.equal(layer(features.chunk(2)[rank]), whole.chunk(2)[rank])
    assert torch.equal(layer.eval()(features), features)


@pytest.fixture
def samples() -> Samples:
    grid = torch.arange(48 * 64).view(48, 64)
    scenes = [
        Scene(str(i), ((grid * (i + 1))[..., None] % 256).expand(-1, -1, 3).byte().numpy(), part)
        for i, part in enumerate((grid % 5).byte().numpy()[None].repeat(7, axis=0))
    ]
    return Samples(scenes, augmentation((48, 64), (32, 32)), others=scenes, mixed_in=3)


def test_processes_share_one_order_and_draw_the_same_augmentations(samples: Samples) -> None:
    torch.manual_seed(1)
    lone = Shard(samples, 4, seed=5, epoch=2)
    whole = [lone[index] for index in range(len(lone))]
    assert len(whole) == 8
    torch.manual_seed(2)  # no matter what was drawn before
    shards = by_two(lambda rank: Shard(samples, 4, seed=5, epoch=2))
    upper, lower = ([shard[index] for index in range(4)] for shard in shards)
    shared = [*upper[:2], *lower[:2], *upper[2:], *lower[2:]]
    for (image, labels), (same_image, same_labels) in zip(whole, shared, strict=True):
        assert torch.equal(image, same_image)
        assert torch.equal(labels, same_labels)


def test_epochs_and_seeds_differ_and_leave_the_stream_alone(samples: Samples) -> None:
    before = torch.get_rng_state()
    first = Shard(samples, 4, seed=5, epoch=0)[0][0]
    others = [Shard(samples, 4, seed, epoch)[0][0] for seed, epoch in ((5, 1), (6, 0))]
    assert not any(torch.equal(first, other) for other in others)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("frames", [4, 3, 1])
def test_sharded_scores_are_the_very_ones_of_one_process(
    camvid: Path, spec: ModelSpec, frames: int
) -> None:
    """Uneven shares, too, and a process without an image."""
    validation = open_dataset(f"camvid:{camvid}", "val")
    dataset = cast("Dataset", [validation[index] for index in range(frames)])

    def predict(frame: Frame) -> Logits:
        """Wrong here and there, so that every score is between 0 and 100."""
        noise = np.random.default_rng(int(frame.sum())).normal(size=(len(spec.classes), 16, 24))
        noise[0] += frame[::4, ::4, 0] > 100
        return noise.astype(np.float32)

    whole = score(predict, spec, dataset)
    assert 0 < whole.miou < 100
    for part in by_two(lambda rank: score(predict, spec, dataset)):
        assert part == whole
    assert by_two(lambda rank: mean_iou(predict, spec, dataset)) == [whole.miou] * 2
