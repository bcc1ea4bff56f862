"""Evaluation: known masks get known scores, through checkpoints and bundles alike."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional

from crf.refinement import Refinement
from engines.labels import upsample_argmax
from engines.preprocess import fit_frame
from engines.spec import CrfParams, ModelSpec
from scenes.dataset import Frame, open_dataset
from train import evaluate
from train.checkpoint import load_model, save_checkpoint
from train.cost import ONCE, Strategy
from train.evaluation import (
    Logits,
    Predict,
    Versions,
    in_half,
    mean_iou,
    predict_with,
    score,
    score_all,
)
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
    assert score(nearest_colour(spec), spec, dataset, (ONCE, refine)).miou > 99


def slow_average(
    predict: Predict, frame: Frame, size: tuple[int, int], strategy: Strategy
) -> NDArray[np.float64]:
    """The mean softmax [C, H, W], one explicit step after the other, in double precision."""
    h, w = frame.shape[:2]
    maps = []
    for scale in strategy.scales:
        for mirrored in (False, True) if strategy.flip else (False,):
            picture = fit_frame(frame, (int((h - 1) * scale + 1), int((w - 1) * scale + 1)))
            if mirrored:
                picture = np.ascontiguousarray(np.fliplr(picture))
            logits = torch.from_numpy(predict(picture).astype(np.float64))[None]
            full = functional.interpolate(logits, size, mode="bilinear", align_corners=False)
            softmax = full.softmax(dim=1)[0]
            maps.append((softmax.flip(-1) if mirrored else softmax).numpy())
    return np.asarray(np.mean(maps, axis=0))


@pytest.mark.parametrize("size", [(64, 96), (41, 133)])
@pytest.mark.parametrize(
    "strategy",
    [
        Strategy(flip=True),
        Strategy((0.5,)),
        Strategy((0.75, 1.0, 1.5)),
        Strategy((0.5, 1.0, 1.75), flip=True),
    ],
)
def test_probabilities_are_averaged_as_by_an_explicit_loop(
    checkpoint: Path, size: tuple[int, int], strategy: Strategy
) -> None:
    predict = predict_with(*load_model(checkpoint))
    frame = np.random.default_rng(1).integers(0, 256, (65, 97, 3)).astype(np.uint8)
    expected = slow_average(predict, frame, size, strategy)
    result = Versions(predict, frame, size).scores(strategy)
    np.testing.assert_allclose(np.exp(result), expected, atol=1e-6)
    labels, gap = upsample_argmax(result, size), np.sort(expected, axis=0)
    assert (labels == expected.argmax(axis=0))[gap[-1] - gap[-2] > 1e-6].all()


def test_a_mirrored_average_does_not_tell_left_from_right(checkpoint: Path) -> None:
    predict, both = predict_with(*load_model(checkpoint)), Strategy(flip=True)
    frame = np.random.default_rng(2).integers(0, 256, (64, 96, 3)).astype(np.uint8)
    straight = Versions(predict, frame, (64, 96)).scores(both)
    turned = Versions(predict, np.ascontiguousarray(frame[:, ::-1]), (64, 96)).scores(both)
    np.testing.assert_allclose(turned[..., ::-1], straight, atol=1e-5)


def test_half_computes_in_fp16(checkpoint: Path) -> None:
    network, spec = load_model(checkpoint)
    frame = np.random.default_rng(0).integers(0, 256, (*spec.input_size, 3), dtype=np.uint8)
    exact = predict_with(network, spec)(frame)
    rounded = predict_with(in_half(network), spec)(frame)
    assert {value.dtype for value in network.parameters()} == {torch.float16}
    assert rounded.dtype == np.float32
    np.testing.assert_array_equal(rounded, rounded.astype(np.float16))
    assert 0 < np.abs(rounded - exact).max() < 0.02 * np.abs(exact).max()


def test_each_version_is_one_pass_however_many_ways_ask_for_it(
    camvid: Path, spec: ModelSpec
) -> None:
    seen: list[tuple[int, ...]] = []

    def counting(frame: Frame) -> Logits:
        seen.append(frame.shape[:2])
        return nearest_colour(spec)(frame)

    scales = (0.5, 1.0, 1.5)
    strategies = [ONCE, Strategy(flip=True), Strategy(scales), Strategy(scales, flip=True)]
    dataset = open_dataset(f"camvid:{camvid}", "val")
    together = score_all(counting, spec, dataset, [(each, None) for each in strategies])
    assert sorted(seen) == sorted([(32, 48), (64, 96), (95, 143)] * 2 * len(dataset))
    alone = [score(nearest_colour(spec), spec, dataset, (each, None)) for each in strategies]
    assert together == alone


@pytest.mark.parametrize("mode", ["fast", "exact"])
def test_the_crf_refines_averaged_probabilities(camvid: Path, spec: ModelSpec, mode: str) -> None:
    dataset = open_dataset(f"camvid:{camvid}", "val")
    strategy = Strategy((0.5, 1.0), flip=True)
    refine = Refinement(len(spec.classes), CrfParams(4, 20, 10, 1, 1, iterations=2), mode)
    blurred, refined = score_all(
        nearest_colour(spec), spec, dataset, [(strategy, None), (strategy, refine)]
    )
    scene = dataset[0]
    log_mean = Versions(nearest_colour(spec), scene.frame, scene.labels.shape).scores(strategy)
    assert np.isfinite(log_mean).mean() > 0.5
    assert refined.miou > 99
    assert blurred.miou > 95


def test_a_class_that_every_version_excludes_stays_excluded(spec: ModelSpec) -> None:
    def sure(frame: Frame) -> Logits:
        scores = np.full((2, *frame.shape[:2]), -200, np.float32)  # exp(-200) is 0 in float32
        scores[0] = 0
        return scores

    frame = np.zeros((8, 12, 3), np.uint8)
    result = Versions(sure, frame, (8, 12)).scores(Strategy(flip=True))
    assert (result[0] == 0).all()
    assert (result[1] == -np.inf).all()
    refine = Refinement(2, CrfParams(4, 20, 10, 1, 1, iterations=2), "exact")
    assert (refine(frame, result) == 0).all()


def test_checkpoint_command(checkpoint: Path, camvid: Path, tmp_path: Path) -> None:
    report = tmp_path / "scores.json"
    flags = f"--checkpoint {checkpoint} --data camvid:{camvid} --split val --json {report}"
    more = "--output-stride 8 --scales 0.5,0.75 1 --flip --crf fast --threads 1"
    assert evaluate.main([*flags.split(), *more.split()]) == 0
    result = json.loads(report.read_text())
    assert result.keys() == KEYS
    assert result["images"] == 4


@pytest.mark.parametrize("flags", ["0.5,0.75,1", "0.5 0.75 1", "0.5,0.75 1"])
def test_scales_are_separated_by_commas_or_spaces(flags: str) -> None:
    options = evaluate.parse(["--data", "street:", "--scales", *flags.split()])
    assert list(options.scales) == [0.5, 0.75, 1]


def test_the_default_is_one_pass() -> None:
    assert list(evaluate.parse(["--data", "street:"]).scales) == [1]


def test_training_and_evaluation_agree_on_miou(checkpoint: Path, camvid: Path) -> None:
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
    assert evaluate.main([*flags.split(), "--flip", "--crf", "exact"]) == 0
    both = json.loads(report.read_text())
    assert both["miou"] == pytest.approx(result["miou"])  # blocks are symmetric, and it is sure


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--checkpoint a --bundle b", "exclude each other"),
        ("--bundle b", "needs --precision"),
        ("--bundle b --precision int8 --scales 0.5 1", "need --checkpoint"),
        ("--bundle b --precision int8 --output-stride 8", "need --checkpoint"),
        ("--checkpoint a --precision int8", "need --bundle"),
        ("--bundle b --precision int8 --scales 0.5 1", "--flip and --crf work"),
        ("--checkpoint a --flavour u8", "need --bundle"),
        ("--checkpoint a --scales 0", "between 0.25 and 4"),
        ("--checkpoint a --scales 0.5,5", "between 0.25 and 4"),
        ("--checkpoint a --scales nan", "between 0.25 and 4"),
        ("--checkpoint a --scales 1,1", "names a scale twice"),
        ("--checkpoint a --threads -1", "not be negative"),
        ("--bundle b --precision fp16 --half", "needs no --bundle"),
    ],
)
def test_contradictory_flags(flags: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate.main(["--data", "camvid:x", *flags.split()]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--scales half", "'half' is no list of numbers"),
        ("--scales 0.5,", "'0.5,' is no list of numbers"),
        ("--scales", "expected at least one argument"),
        ("--crf sharp", "invalid choice: 'sharp'"),
    ],
)
def test_malformed_flags(flags: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        evaluate.main(["--data", "camvid:x", *flags.split()])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("stride", [7, 0])
def test_an_output_stride_that_no_network_has(
    checkpoint: Path, camvid: Path, stride: int, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = f"--data camvid:{camvid} --checkpoint {checkpoint} --output-stride {stride}"
    assert evaluate.main(flags.split()) == 2
    assert f"output stride {stride}" in capsys.readouterr().err


def test_pictures_without_labels_score_nothing(
    checkpoint: Path, camvid: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = f"--data images:{camvid / 'val'} --checkpoint {checkpoint}"
    assert evaluate.main(flags.split()) == 6
    assert "has no labels, so nothing can be scored" in capsys.readouterr().err


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
