"""Evidence from the frames before: what it steadies, where it keeps out, how soon it forgets."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from crf.motion import sources
from crf.temporal import CHANGED, CUT, MEMORY, SAME, TemporalEvidence
from engines.labels import upsample_argmax
from engines.preprocess import fit_frame
from scenes.flicker import FlickerScore, TurnoverScore
from scenes.scores import ConfusionMatrix
from scenes.street import StreetCamera

Frame = NDArray[np.uint8]
Floats = NDArray[np.float32]

GRID = (24, 32)
SIZE = (96, 128)


def scenery(seed: int = 0, size: tuple[int, int] = SIZE) -> Frame:
    """A frame of textured 4x4 blocks, with room for noise above and below."""
    blocks = np.random.default_rng(seed).integers(40, 216, (size[0] // 4, size[1] // 4, 3))
    return blocks.repeat(4, axis=0).repeat(4, axis=1).astype(np.uint8)


def noisy(frame: Frame, deviation: float, seed: int) -> Frame:
    noise = np.random.default_rng(seed).normal(0, deviation, frame.shape)
    return np.clip(np.round(frame + noise), 0, 255).astype(np.uint8)


def scores(seed: int, classes: int = 5) -> Floats:
    return np.random.default_rng(seed).normal(0, 2, (classes, *GRID)).astype(np.float32)


def two_classes(margin: float) -> Floats:
    """Scores that are for class 1 by `margin` everywhere (class 0 if negative)."""
    return np.stack([np.zeros(GRID), np.full(GRID, margin)]).astype(np.float32)


def slow_update(frames: list[Frame], maps: list[Floats]) -> Floats:
    """The last frame's scores by the formula, in double precision and one cell at a time."""
    pictures = [fit_frame(frame, GRID).transpose(2, 0, 1) for frame in frames]
    result = maps[0].astype(float)
    for before, after, logits in zip(pictures[:-1], pictures[1:], maps[1:], strict=True):
        cells, past = sources(before, after), result.reshape(len(logits), -1)
        mixed, total = logits.astype(float), 0.0
        for y, x in np.ndindex(GRID):
            there = before.reshape(3, -1)[:, cells[y, x]]
            change = np.abs(after[:, y, x].astype(int) - there).max()
            weight = MEMORY * min(max((CHANGED - change) / (CHANGED - SAME), 0), 1)
            total += weight
            mixed[:, y, x] += weight * (past[:, cells[y, x]] - mixed[:, y, x])
        result = mixed if total / cells.size >= CUT * MEMORY else logits.astype(float)
    return result.astype(np.float32)


def test_equals_the_formula_cell_by_cell() -> None:
    frame = scenery()
    moved = np.roll(frame, (4, -8), axis=(0, 1))
    frames = [frame, noisy(frame, 12, 1), moved, noisy(moved, 3, 2), scenery(9)]
    maps = [scores(seed) for seed in range(len(frames))]
    temporal = TemporalEvidence()
    for count in range(len(frames)):
        steadied = temporal.update(frames[count], maps[count])
        expected = slow_update(frames[: count + 1], maps[: count + 1])
        np.testing.assert_allclose(steadied, expected, atol=1e-5)
        assert steadied.dtype == np.float32


def test_the_first_frame_is_left_alone_and_copied() -> None:
    logits = scores(0)
    steadied = TemporalEvidence().update(scenery(), logits)
    np.testing.assert_array_equal(steadied, logits)
    assert not np.shares_memory(steadied, logits)  # an engine may write its next result there


@pytest.mark.parametrize("deviation", [0.0, 3.0])
def test_a_still_camera_gets_the_mean_of_frames(deviation: float) -> None:
    frame, temporal = scenery(), TemporalEvidence()
    spread = []
    for seed in range(40):
        steadied = temporal.update(noisy(frame, deviation, seed), scores(seed))
        spread.append(float(steadied.std()))
    # The variance of the running mean is (1 - MEMORY) / (1 + MEMORY) of a frame's: a third of 2.
    assert np.mean(spread[20:]) == pytest.approx(2 / 3, rel=0.1)


@pytest.mark.parametrize("ratio", [1, 3, 10])
def test_an_error_is_gone_after_the_stated_number_of_frames(ratio: float) -> None:
    frame, temporal = scenery(), TemporalEvidence()
    for _ in range(50):
        temporal.update(frame, two_classes(-ratio))
    last = math.floor(math.log(1 + ratio) / math.log(1 / MEMORY))
    winners = [temporal.update(frame, two_classes(1)).argmax(axis=0) for _ in range(last + 1)]
    assert not np.any(winners[:-1])
    assert np.all(winners[-1])


def test_scores_follow_what_moves() -> None:
    frame, logits = scenery(), scores(1)
    temporal = TemporalEvidence()
    temporal.update(frame, logits)
    steadied = temporal.update(np.roll(frame, (4, -8), axis=(0, 1)), np.zeros_like(logits))
    inner = np.s_[:, 4:-4, 4:-4]
    expected = MEMORY * np.roll(logits, (1, -2), axis=(1, 2))
    np.testing.assert_allclose(steadied[inner], expected[inner], atol=1e-6)


def test_what_changed_gets_no_evidence() -> None:
    frame, temporal = scenery(), TemporalEvidence()
    temporal.update(frame, scores(1))
    changed = frame.copy()
    changed[32:64, 40:80] = 255
    logits = scores(2)
    steadied = temporal.update(changed, logits)
    np.testing.assert_array_equal(steadied[:, 8:16, 10:20], logits[:, 8:16, 10:20])
    assert np.all(steadied[0, :6] != logits[0, :6])  # the rest does


@pytest.mark.parametrize(
    "following",
    [
        pytest.param(scenery(7), id="another scene"),
        pytest.param((scenery() * 0.8).astype(np.uint8), id="exposure step"),
        pytest.param(np.zeros((*SIZE, 3), np.uint8), id="covered lens"),
        pytest.param(scenery(size=(192, 256)), id="another size"),
    ],
)
def test_a_cut_starts_anew(following: Frame) -> None:
    temporal, logits = TemporalEvidence(), scores(2)
    temporal.update(scenery(), scores(1))
    np.testing.assert_array_equal(temporal.update(following, logits), logits)
    assert np.any(temporal.update(following, scores(3)) != scores(3))  # and goes on from there


def test_another_grid_and_a_call_to_forget_start_anew() -> None:
    frame, temporal = scenery(), TemporalEvidence()
    temporal.update(frame, scores(1))
    small = scores(2)[:, :12, :16]
    np.testing.assert_array_equal(temporal.update(frame, small), small)
    temporal.forget()
    np.testing.assert_array_equal(temporal.update(frame, small + 1), small + 1)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_broken_score_does_not_live_on(bad: float) -> None:
    frame, temporal = scenery(), TemporalEvidence()
    temporal.update(frame, scores(1))
    broken = scores(2)
    broken[1, 3, 4] = bad
    np.testing.assert_array_equal(temporal.update(frame, broken), broken)
    np.testing.assert_array_equal(temporal.update(frame, scores(3)), scores(3))


def test_only_differences_between_classes_count() -> None:
    frame, rng = scenery(), np.random.default_rng(4)
    plain, shifted = TemporalEvidence(), TemporalEvidence()
    for seed in range(4):
        logits = scores(seed)
        constant = rng.normal(0, 5, (1, *GRID)).astype(np.float32)
        ours, theirs = plain.update(frame, logits), shifted.update(frame, logits + constant)
    np.testing.assert_allclose(ours - ours[:1], theirs - theirs[:1], atol=1e-4)


def test_half_precision_logits_and_odd_sizes() -> None:
    temporal = TemporalEvidence()
    logits = scores(1)[:, :23, :30].astype(np.float16)
    for seed in range(3):
        steadied = temporal.update(noisy(scenery(size=(92, 120)), 2, seed), logits)
    assert steadied.dtype == np.float32
    np.testing.assert_allclose(steadied, logits, atol=1e-2)


def test_a_driving_street_flickers_less_and_its_labels_follow() -> None:
    camera = StreetCamera((120, 160), seed=3)
    rng = np.random.default_rng(0)
    temporal = TemporalEvidence()
    rows = [(FlickerScore(), TurnoverScore(), ConfusionMatrix(11)) for _ in range(2)]
    for index in range(24):
        scene = camera.scene(index)
        truth = np.minimum(scene.labels[2::4, 2::4], 10)
        logits = 3.0 * (np.arange(11)[:, None, None] == truth) + rng.normal(0, 1, (11, 30, 40))
        plain = logits.astype(np.float32)
        steadied = temporal.update(scene.frame, plain)
        for (flicker, turnover, confusion), each in zip(rows, (plain, steadied), strict=True):
            labels = upsample_argmax(each, scene.labels.shape)
            flicker.add(scene.frame, labels)
            turnover.add(scene.labels, labels)
            confusion.add(scene.labels, labels)
    (off, off_turn, off_iou), (on, on_turn, on_iou) = rows
    assert on.percent < 0.4 * off.percent
    assert on_turn.followed_percent > off_turn.followed_percent - 1
    assert on_turn.ghost_percent < off_turn.ghost_percent + 2
    assert on_iou.miou > off_iou.miou
