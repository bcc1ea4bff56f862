"""Training end to end on a tiny folder: it learns, resumes exactly, and refuses bad input."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from engines.failures import Failure, Refused, UsageError
from engines.spec import ModelSpec
from scenes.dataset import open_dataset
from train import fit
from train.checkpoint import load_model, save_checkpoint
from train.evaluation import mean_iou, predict_with
from train.family import build_model
from train.fit_data import open_data
from train.fit_options import Options
from train.losses import distillation_loss
from train.network import Network
from train.trainer import Trainer, average_with


@pytest.fixture
def options(camvid: Path, tmp_path: Path) -> Options:
    return Options(
        data=(f"camvid:{camvid}",),
        run=tmp_path / "run",
        name="tiny",
        epochs=2,
        batch=8,
        crop=(64, 96),
        input_size=(64, 96),
        validate_every=2,
    )


def test_the_command_learns_and_writes_what_it_promises(camvid: Path, tmp_path: Path) -> None:
    run, report = tmp_path / "run", tmp_path / "fit.json"
    flags = f"--data camvid:{camvid} --run {run} --name tiny --epochs 3 --batch 4 --json {report}"
    more = "--crop 64x96 --input-size 64x96 --validate-every 2 --learning-rate 5e-3"
    assert fit.main([*flags.split(), *more.split()]) == 0
    result = json.loads(report.read_text())
    assert result.keys() == {"checkpoint", "miou", "epochs"}
    assert result["epochs"] == 3
    lines = list(csv.DictReader((run / "log.csv").read_text().splitlines()))
    assert [line["epoch"] for line in lines] == ["1", "2", "3"]
    assert [bool(line["miou"]) for line in lines] == [False, True, True]
    assert float(lines[-1]["loss"]) < 0.5 * float(lines[0]["loss"])

    network, spec = load_model(Path(result["checkpoint"]))
    assert (spec.name, spec.input_size, network.training) == ("tiny", (64, 96), False)
    validation = open_dataset(f"camvid:{camvid}", "val")
    assert mean_iou(predict_with(network, spec), spec, validation) == result["miou"]


def test_a_resumed_run_ends_with_the_very_weights_of_an_uninterrupted_one(
    options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = dataclasses.replace(options, run=options.run / "whole")
    parts = dataclasses.replace(options, run=options.run / "parts")
    fit.run(whole)
    with monkeypatch.context() as patch:
        patch.setattr(fit, "show_line", interrupt_after(1))
        with pytest.raises(KeyboardInterrupt):
            fit.run(parts)
    result = fit.run(dataclasses.replace(parts, resume=True))
    assert result.epochs == 2
    expected, resumed = (load_file(o.run / "tiny.safetensors") for o in (whole, parts))
    assert expected.keys() == resumed.keys()
    assert all(torch.equal(expected[name], resumed[name]) for name in expected)


def interrupt_after(epochs: int) -> object:
    def show_line(line: dict[str, float]) -> None:
        if line["epoch"] == epochs:
            raise KeyboardInterrupt

    return show_line


def test_a_run_is_never_overwritten_nor_continued_with_other_settings(options: Options) -> None:
    once = dataclasses.replace(options, epochs=1)
    fit.run(once)
    with pytest.raises(UsageError, match="holds a run already: add --resume"):
        fit.run(once)
    with pytest.raises(Refused, match="other settings"):
        fit.run(dataclasses.replace(once, resume=True, learning_rate=0.5))
    (once.run / "state.pt").write_bytes(b"broken off")
    with pytest.raises(Refused, match="not a readable run state"):
        fit.run(dataclasses.replace(once, resume=True))


def test_a_run_is_not_continued_with_another_number_of_frames(
    options: Options, camvid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The schedule and the order of the frames would be those of another run."""
    data = shutil.copytree(camvid, tmp_path / "growing")
    options = dataclasses.replace(options, data=(f"camvid:{data}",))
    with monkeypatch.context() as patch:
        patch.setattr(fit, "show_line", interrupt_after(1))
        with pytest.raises(KeyboardInterrupt):
            fit.run(options)
    for index in range(8):
        for split in ("train", "trainannot"):
            shutil.copy(data / split / f"{index:03}.png", data / split / f"{index + 100}.png")
    with pytest.raises(Refused, match="2 steps an epoch, and these frames make 3"):
        fit.run(dataclasses.replace(options, resume=True))


def test_frames_that_are_trained_on_are_no_validation(
    options: Options, capsys: pytest.CaptureFixture[str]
) -> None:
    open_data(options)
    assert capsys.readouterr().err == ""
    open_data(dataclasses.replace(options, val_split="train"))
    assert "warning: train has the very frames of train" in capsys.readouterr().err


def test_a_full_disk_is_one_sentence_and_the_state_before_is_kept(
    options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = dataclasses.replace(options, epochs=1)
    fit.run(first)
    before = (options.run / "state.pt").read_bytes()

    def full(*_: object) -> None:
        raise RuntimeError("[enforce fail at inline_container.cc:671] . unexpected pos\nframe #0")

    monkeypatch.setattr(torch, "save", full)
    trainer = Trainer(*trainer_parts(first))
    with pytest.raises(Failure, match=r"unexpected pos.*the disk may be full"):
        trainer.save(options.run)
    assert (options.run / "state.pt").read_bytes() == before


def trainer_parts(options: Options) -> tuple[Network, ModelSpec, Options, torch.Tensor, int]:
    """What a trainer of these options is made of."""
    spec = fit.new_spec(options, open_data(options))
    network = build_model(spec.architecture, len(spec.classes))
    return network, spec, options, torch.ones(len(spec.classes)), 2


def test_a_file_in_the_place_of_the_run_is_told_before_training(options: Options) -> None:
    options.run.write_text("a file")
    with pytest.raises(UsageError, match="is a file"):
        fit.run(options)


def test_resuming_nothing_is_refused(options: Options) -> None:
    with pytest.raises(Refused, match="no run to resume"):
        fit.run(dataclasses.replace(options, resume=True))


def test_training_goes_on_from_a_checkpoint(options: Options) -> None:
    first = dataclasses.replace(options, epochs=1)
    checkpoint = fit.run(first).checkpoint
    still = dataclasses.replace(
        first, run=options.run / "second", init=checkpoint, learning_rate=1e-12, weight_decay=0
    )
    before, after = load_file(checkpoint), load_file(fit.run(still).checkpoint)
    weight = "decoder.classifier.weight"
    torch.testing.assert_close(after[weight], before[weight], rtol=0, atol=1e-8)


def test_a_student_comes_to_agree_with_its_teacher(options: Options, camvid: Path) -> None:
    teacher = fit.run(dataclasses.replace(options, epochs=4)).checkpoint
    alone = dataclasses.replace(options, run=options.run / "alone", seed=1, epochs=8, ema=0.5)
    taught = dataclasses.replace(
        alone, run=options.run / "taught", teacher=teacher, teacher_weight=5.0
    )
    validation = open_dataset(f"camvid:{camvid}", "val")
    frames = torch.stack([torch.tensor(scene.frame).permute(2, 0, 1) for scene in validation])
    frames = frames / 127.5 - 1
    divergences = []
    for student in (alone, taught):
        network, _ = load_model(fit.run(student).checkpoint)
        with torch.no_grad():
            answers = load_model(teacher)[0](frames)
            divergences.append(distillation_loss(network(frames), answers).item())
    assert divergences[1] < divergences[0]


def test_a_teacher_of_other_classes_is_refused(
    options: Options, spec: ModelSpec, tmp_path: Path
) -> None:
    checkpoint = tmp_path / "other.safetensors"
    other = dataclasses.replace(spec, classes=("a", "b"), palette=spec.palette[:2])
    save_checkpoint(checkpoint, build_model(other.architecture, 2), other)
    with pytest.raises(Refused, match="other classes or another normalisation"):
        fit.run(dataclasses.replace(options, teacher=checkpoint))


def test_a_diverging_run_stops_with_the_cause(options: Options) -> None:
    with pytest.raises(Failure, match=r"in epoch \d+, step [12] of 2: .* lower --learning-rate"):
        fit.run(dataclasses.replace(options, epochs=30, learning_rate=1e30))


@pytest.mark.parametrize(
    ("done", "message"),
    [
        (2, r"the loss is nan in epoch 2, step 1 of 2: .*; the weights of epoch 1 are kept"),
        (3, r"the loss is nan in epoch 2, step 2 of 2"),
        (4, r"the weights are not finite in epoch 2, step 2 of 2"),
    ],
)
def test_a_loss_of_nan_leaves_the_last_good_checkpoint_as_it_is(
    options: Options, monkeypatch: pytest.MonkeyPatch, done: int, message: str
) -> None:
    """Weights turn NaN when `done` steps of the four are; after the last, no loss tells."""
    kept: dict[str, bytes] = {}

    def show_line(line: dict[str, float]) -> None:
        kept.update({path.name: path.read_bytes() for path in options.run.iterdir()})

    step = Trainer.step

    def poisoned(self: Trainer, batch: Sequence[torch.Tensor]) -> float:
        if self.schedule.last_epoch == done:
            next(self.network.parameters()).data.fill_(math.nan)
        loss = step(self, batch)
        if self.schedule.last_epoch == done == 4:
            next(self.average.parameters()).data.fill_(math.nan)
        return loss

    monkeypatch.setattr(fit, "show_line", show_line)
    monkeypatch.setattr(Trainer, "step", poisoned)
    with pytest.raises(Failure, match=message):
        fit.run(options)
    assert kept.keys() == {"tiny.safetensors", "tiny.json", "state.pt", "log.csv"}
    assert kept == {path.name: path.read_bytes() for path in options.run.iterdir()}


def test_too_few_frames_for_a_batch_are_refused(options: Options) -> None:
    with pytest.raises(Refused, match="16 frames do not fill a batch of 64"):
        fit.run(dataclasses.replace(options, batch=64))


@pytest.fixture(scope="module")
def spoilt(
    camvid: Path, spec: ModelSpec, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """Datasets with one thing wrong each, and a checkpoint of two classes."""
    root = tmp_path_factory.mktemp("spoilt")
    for name in ("empty", "corrupt", "unlabelled", "ignored"):
        shutil.copytree(camvid, root / name)
    for path in (root / "empty" / "train").iterdir():
        path.unlink()
    (root / "corrupt/train/003.png").write_bytes(b"broken off")
    (root / "unlabelled/trainannot/003.png").unlink()
    for path in (root / "ignored" / "valannot").iterdir():
        Image.new("L", (96, 64), 11).save(path)
    for part, mode in (("images", "RGB"), ("labels", "L")):
        (root / "beyond" / part).mkdir(parents=True)
        Image.new(mode, (96, 64), "#070707").save(root / "beyond" / part / "a.png")
    (root / "beyond/classes.json").write_text('{"classes": ["road", "car"]}')
    two = dataclasses.replace(spec, classes=spec.classes[:2], palette=spec.palette[:2])
    save_checkpoint(root / "two.safetensors", build_model(spec.architecture, 2), two)
    kinds = {"beyond": "folder"}
    names = ("empty", "corrupt", "unlabelled", "ignored", "beyond")
    data = {name: f"{kinds.get(name, 'camvid')}:{root / name}" for name in names}
    return data | {"two": str(root / "two.safetensors")}


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        pytest.param("--data camvid:/nowhere", 6, "no CamVid split at /nowhere/train", id="folder"),
        pytest.param("--data camwid:/nowhere", 6, "unknown dataset 'camwid:", id="kind"),
        pytest.param("--data camvid:/x --batch 1", 2, "--batch must be at least 2", id="batch"),
        pytest.param("--data camvid:/x --epochs 0", 2, "--epochs", id="epochs"),
        pytest.param("--data camvid:/x --mix-share 1", 2, "--mix-share", id="share"),
        pytest.param("--data camvid:/x --ema 1", 2, "--ema", id="ema"),
        pytest.param("--data camvid:/x --learning-rate nan", 2, "nan is not positive", id="rate"),
        pytest.param("--data camvid:/x --weight-decay -1", 2, "--weight-decay", id="decay"),
        pytest.param("--data camvid:/x --lovasz nan", 2, "--lovasz must not", id="lovasz"),
        pytest.param("--data camvid:/x --seed -1", 2, "--seed must not be negative", id="seed"),
        pytest.param("--data camvid:/x --threads -1", 2, "--threads must not", id="threads"),
        pytest.param("--data {camvid} --name a/b", 2, "'a/b' is no file name", id="name"),
        pytest.param("--data {camvid} --init /no.npz", 6, "no initial weights", id="init"),
        pytest.param("--data {camvid} --architecture vgg", 2, "unknown architecture", id="net"),
        pytest.param("--data camvid:/x --crop 16x96", 2, "at least 32x32", id="small crop"),
        pytest.param(
            "--data {camvid} --crop 64x200", 2, "larger than any frame: at most 128x192", id="crop"
        ),
        pytest.param("--data {empty}", 6, "empty/train holds no .jpg", id="empty split"),
        pytest.param("--data {corrupt}", 6, "train/003.png is not a readable image", id="corrupt"),
        pytest.param("--data {unlabelled}", 6, "trainannot/003.png is missing", id="label file"),
        pytest.param("--data {ignored}", 6, "in the validation frames: are all", id="all ignore"),
        pytest.param("--data {beyond}", 6, "a.png holds the label 7, but", id="label value"),
        pytest.param("--data {camvid} --init {two}", 6, "trained for 2 classes, but", id="classes"),
    ],
)
def test_bad_input_is_one_sentence(
    flags: str,
    code: int,
    message: str,
    camvid: Path,
    spoilt: dict[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = flags.format(camvid=f"camvid:{camvid}", **spoilt).split()
    sizes = ["--input-size", "64x96", "--crop", "64x96"]
    assert fit.main([*sizes, *words, "--run", str(tmp_path / "run")]) == code
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not (tmp_path / "run").exists()


def test_a_size_is_height_by_width(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        fit.parse(["--data", "camvid:x", "--crop", "320"])
    assert stop.value.code == 2
    assert "not HEIGHTxWIDTH" in capsys.readouterr().err
    assert fit.parse(["--data", "camvid:x", "--crop", "320x400"]).crop == (320, 400)


def test_the_average_forgets_its_start_quickly_and_remembers_at_last() -> None:
    average, count = [torch.tensor([10.0]), torch.tensor(3)], torch.tensor(1)
    average_with(0.9)(average, [torch.tensor([1.0]), torch.tensor(7)], count)
    assert average[0].item() == pytest.approx(10 * 2 / 11 + 1 * 9 / 11)
    assert average[1].item() == 7
    average_with(0.9)(average, [torch.tensor([0.0]), torch.tensor(8)], torch.tensor(10**6))
    assert average[0].item() == pytest.approx(0.9 * (10 * 2 / 11 + 9 / 11))
