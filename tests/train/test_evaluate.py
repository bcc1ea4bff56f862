"""Evaluation: known masks get known scores, through checkpoints and bundles alike."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from crf.refinement import Refinement
from engines.labels import upsample
from engines.spec import CrfParams, ModelSpec
from scenes.dataset import Frame, open_dataset
from train import evaluate
from train.checkpoint import save_checkpoint
from train.evaluation import Logits, Predict, averaged, mean_iou, predict_with, score
from train.family import build_model

KEYS = {"miou", "per_class", "boundary_f", "trimap_accuracy", "pixel_accuracy", "images"}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, spec: ModelSpec) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.safetensors"
    save_checkpoint(path, build_model(spec.architecture, len(spec.classes)), spec)
    return path


def nearest_colour(spec: ModelSpec) -> Predict:
    """A predictor that reads the class off the colour, at stride 1."""
    palette = np.array(spec.palette, np.float32)

    def predict(frame: Frame) -> Logits:
        distance = np.square(frame[None].astype(np.float32) - palette[:, None, None]).sum(axis=-1)
        return np.asarray(-distance / 1000, np.float32)

    return predict


def test_perfect_masks_score_100(camvid: Path, spec: ModelSpec) -> None:
    dataset = open_dataset(f"camvid:{camvid}", "val")
    summary = score(nearest_colour(spec), spec, dataset)
    assert (summary.miou, summary.pixel_accuracy, summary.images) == (100, 100, 4)
    assert (summary.boundary_f, summary.trimap_accuracy) == (100, 100)
    assert summary.per_class["Road"] == 100
    assert summary.per_class["Tree"] is None


@pytest.mark.parametrize("mode", ["fast", "exact"])
def test_the_crf_keeps_masks_that_are_right_already(
    camvid: Path, spec: ModelSpec, mode: str
) -> None:
    params = CrfParams(4, 20, 10, 1, 1, iterations=2)
    dataset = open_dataset(f"camvid:{camvid}", "val")
    refine = Refinement(len(spec.classes), params, mode)
    assert score(nearest_colour(spec), spec, dataset, refine).miou > 99


def test_flip_averages_the_frame_with_its_mirror_image(spec: ModelSpec) -> None:
    def lopsided(frame: Frame) -> Logits:
        scores = np.stack([frame[..., 0], frame[..., 1].cumsum(axis=1)])
        return np.asarray(scores / 500, np.float32)

    frame = np.random.default_rng(0).integers(0, 256, (8, 12, 3)).astype(np.uint8)
    both = averaged(lopsided, [1.0], flip=True)(frame)
    plain, mirrored = lopsided(frame), lopsided(frame[:, ::-1])[..., ::-1]
    expected = sum(np.exp(x) / np.exp(x).sum(axis=0) for x in (plain, mirrored)) / 2
    np.testing.assert_allclose(np.exp(both), expected, rtol=1e-5)
    np.testing.assert_allclose(averaged(lopsided, [1.0], True)(frame[:, ::-1])[..., ::-1], both)


def test_scales_are_averaged_at_the_size_of_the_frame() -> None:
    seen: list[tuple[int, ...]] = []

    def constant(frame: Frame) -> Logits:
        seen.append(frame.shape[:2])
        value = np.float32(frame.shape[0] / 64)
        return np.stack([np.full((4, 6), value), np.zeros((4, 6))]).astype(np.float32)

    result = averaged(constant, [0.5, 1.0, 1.5], flip=False)(np.zeros((64, 96, 3), np.uint8))
    assert seen == [(32, 48), (64, 96), (96, 144)]
    assert result.shape == (2, 64, 96)
    expected = np.mean([1 / (1 + np.exp(-s)) for s in (0.5, 1.0, 1.5)])
    np.testing.assert_allclose(np.exp(result[0]), expected, rtol=1e-6)


def test_one_version_alone_gives_the_labels_of_its_logits(checkpoint: Path) -> None:
    from train.checkpoint import load_model

    predict = predict_with(*load_model(checkpoint))
    frame = np.random.default_rng(1).integers(0, 256, (64, 96, 3)).astype(np.uint8)
    logits = upsample(predict(frame), (64, 96)).astype(np.float64)
    expected = logits - np.log(np.exp(logits).sum(axis=0))
    np.testing.assert_allclose(averaged(predict, [1.0], False)(frame), expected, atol=1e-5)


def test_checkpoint_command(checkpoint: Path, camvid: Path, tmp_path: Path) -> None:
    report = tmp_path / "scores.json"
    flags = f"--checkpoint {checkpoint} --data camvid:{camvid} --split val --json {report}"
    assert evaluate.main([*flags.split(), "--output-stride", "8", "--flip"]) == 0
    result = json.loads(report.read_text())
    assert result.keys() == KEYS
    assert result["images"] == 4


def test_training_and_evaluation_agree_on_miou(checkpoint: Path, camvid: Path) -> None:
    from train.checkpoint import load_model

    network, spec = load_model(checkpoint)
    dataset = open_dataset(f"camvid:{camvid}", "val")
    predict = predict_with(network, spec)
    assert mean_iou(predict, spec, dataset) == score(predict, spec, dataset).miou


def test_bundle_command(tiny_bundle: Path, camvid: Path, tmp_path: Path) -> None:
    report = tmp_path / "scores.json"
    flags = f"--bundle {tiny_bundle} --precision fp32 --data camvid:{camvid} --json {report}"
    assert evaluate.main(flags.split()) == 0
    result = json.loads(report.read_text())
    assert result.keys() == KEYS
    assert result["miou"] > 70  # the colours are exact, but the graph sees blocks of 4x4 pixels


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--checkpoint a --bundle b", "exclude each other"),
        ("--bundle b", "needs --precision"),
        ("--bundle b --precision int8 --scales 0.5 1", "need --checkpoint"),
        ("--bundle b --precision int8 --output-stride 8", "need --checkpoint"),
        ("--checkpoint a --precision int8", "need --bundle"),
        ("--checkpoint a --scales 0", "between 0.25 and 4"),
    ],
)
def test_contradictory_flags(flags: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate.main(["--data", "camvid:x", *flags.split()]) == 2
    assert message in capsys.readouterr().err


def test_bad_input_is_one_sentence(
    checkpoint: Path, camvid: Path, spec: ModelSpec, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["--data", f"camvid:{camvid}"]
    assert evaluate.main([*data, "--checkpoint", "/nowhere.safetensors"]) == 6
    assert evaluate.main([*data, "--checkpoint", str(checkpoint), "--split", "test"]) == 6
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["error"] * 2
    for line, words in zip(lines, ("no checkpoint", "no CamVid split"), strict=True):
        assert words in line


def test_a_model_of_other_classes_is_refused(
    camvid: Path, spec: ModelSpec, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = dataclasses.replace(spec, classes=("a", "b"), palette=spec.palette[:2])
    path = tmp_path / "other.safetensors"
    save_checkpoint(path, build_model(other.architecture, 2), other)
    assert evaluate.main(["--data", f"camvid:{camvid}", "--checkpoint", str(path)]) == 6
    assert "was trained for a, b" in capsys.readouterr().err
