"""Evidence of the frames before on the GPU: the oracle's scores to the bit, frame after frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from crf.cuda_temporal import CudaTemporalEvidence
from crf.temporal import TemporalEvidence
from engines.device import Device, uploaded
from tests.host_shim.host_device import HostDevice

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]
Moment = tuple[Bytes, Floats]


def clip(size: tuple[int, int], classes: int, moves: list[tuple[int, int]]) -> Iterator[Moment]:
    """Small pictures of a texture that moves by whole cells, with noise, and noisy logits."""
    rng = np.random.default_rng(size[1] + classes)
    texture = rng.integers(0, 250, (size[0] + 20, size[1] + 20, 3))
    top = left = 10
    for down, right in moves:
        top, left = top + down, left + right
        cut = texture[top : top + size[0], left : left + size[1]]
        noise = rng.integers(0, 6, cut.shape)
        logits = rng.normal(size=(classes, *size)).astype(np.float32)
        yield np.asarray(cut + noise, np.uint8), logits


class Both:
    """The GPU's and the oracle's memory of one stream."""

    def __init__(self, device: Device, shape: tuple[int, int, int]) -> None:
        self._device, self._shape = device, shape
        self._gpu, self._oracle = CudaTemporalEvidence(device, shape), TemporalEvidence()

    def update(self, moment: Moment) -> tuple[Floats, Floats]:
        """The scores of each."""
        scores = np.empty(self._shape, np.float32)
        buffers = [uploaded(self._device, part) for part in moment]
        self._device.download(self._gpu.update(*buffers), scores)
        return scores, self._oracle.update(*moment)

    def forget(self) -> None:
        self._gpu.forget()
        self._oracle.forget()


@pytest.mark.parametrize("classes", [1, 11])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 1), (13, 17)], ids=str)
def test_scores_are_the_oracles(device: Device, size: tuple[int, int], classes: int) -> None:
    moves = [(0, 0), (0, 0), (0, 1), (2, -2), (-1, 0), (0, 0)]
    memory, mixed = Both(device, (classes, *size)), False
    for picture, logits in clip(size, classes, moves):
        scores, expected = memory.update((picture, logits))
        np.testing.assert_array_equal(scores, expected)
        mixed |= bool((scores != logits).any())
    assert mixed


def test_a_cut_and_forgetting_start_anew(device: Device) -> None:
    memory = Both(device, (3, 12, 15))
    first, second = (list(clip((12, 15), n, [(0, 0)] * 3)) for n in (3, 4))
    for moment in (
        *first[:2],
        (second[0][0], first[2][1]),
        first[0],
    ):  # to another texture and back
        scores, expected = memory.update(moment)
        np.testing.assert_array_equal(scores, expected)
    np.testing.assert_array_equal(scores, first[0][1])  # no past
    assert (memory.update(first[1])[0] != first[1][1]).any()
    memory.forget()
    np.testing.assert_array_equal(memory.update(first[2])[0], first[2][1])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_broken_logits_come_back_and_are_not_remembered(device: Device, bad: float) -> None:
    memory = Both(device, (3, 8, 9))
    moments = list(clip((8, 9), 3, [(0, 0)] * 4))
    moments[1][1][2, 3, 4] = bad
    alone = []
    for moment in moments:
        scores, expected = memory.update(moment)
        np.testing.assert_array_equal(scores, expected)
        alone.append(bool(np.array_equal(scores, moment[1], equal_nan=True)))
    assert alone == [True, True, True, False]


def test_nothing_is_copied_or_allocated_by_an_update(
    host_device: Callable[..., HostDevice],
) -> None:
    device = host_device()
    evidence = CudaTemporalEvidence(device, (3, 5, 6))
    picture, logits = (device.allocate(size) for size in (3 * 30, 4 * 3 * 30))
    device.upload(np.zeros((5, 6, 3), np.uint8), picture)
    device.upload(np.zeros((3, 5, 6), np.float32), logits)
    before = len(device.uploads), device.allocations
    for _ in range(3):
        evidence.update(picture, logits)
    assert (len(device.uploads), device.allocations) == before
    assert not device.downloads
