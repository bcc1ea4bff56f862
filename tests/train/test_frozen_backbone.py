"""Training a head alone: the trunk comes from a checkpoint and stays as it was, bit for bit."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from engines.failures import Refused, UsageError
from engines.spec import ModelSpec
from train import fit
from train.checkpoint import save_checkpoint
from train.family import build_model
from train.fit_options import Options


@pytest.fixture(scope="module")
def donor(tmp_path_factory: pytest.TempPathFactory, spec: ModelSpec) -> Path:
    """A v3+ checkpoint, to take the trunk from."""
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("donor") / "donor.safetensors"
    save_checkpoint(path, build_model(spec.architecture, len(spec.classes)), spec)
    return path


@pytest.fixture
def options(camvid: Path, donor: Path, tmp_path: Path) -> Options:
    return Options(
        data=(f"camvid:{camvid}",),
        run=tmp_path / "run",
        name="head",
        architecture="deeplabv2_mobilenetv2,largefov",
        init_backbone=donor,
        freeze_backbone=True,
        epochs=1,
        crop=(33, 49),
        input_size=(64, 96),
        validate_every=1,
    )


def trunk(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in weights.items() if name.startswith("backbone.")}


def test_only_the_head_learns(options: Options, donor: Path) -> None:
    fit.run(options)
    trained, before = load_file(options.run / "head.safetensors"), load_file(donor)
    kept = trunk(trained)
    assert kept.keys() == trunk(before).keys()
    assert all(torch.equal(kept[name], before[name]) for name in kept)  # batch norms included
    torch.manual_seed(options.seed)
    start = build_model(options.architecture, 11, options.output_stride).state_dict()
    heads = trained.keys() - kept.keys()
    assert heads
    assert all(not torch.equal(trained[name], start[name]) for name in heads)


def test_a_trunk_that_is_not_frozen_learns_too(options: Options, donor: Path) -> None:
    fit.run(dataclasses.replace(options, freeze_backbone=False))
    trained, before = load_file(options.run / "head.safetensors"), load_file(donor)
    name = "backbone.conv_stem.weight"
    assert not torch.equal(trained[name], before[name])
    assert torch.allclose(trained[name], before[name], atol=0.05)  # from there, not from random


def test_a_frozen_run_resumes_and_an_older_one_without_the_option_too(options: Options) -> None:
    fit.run(options)
    path = options.run / "state.pt"
    state = torch.load(path, weights_only=True)
    assert state["settings"].pop("teacher") == "None"
    torch.save(state, path)
    result = fit.run(dataclasses.replace(options, resume=True))
    assert result.epochs == 1
    with pytest.raises(Refused, match="other settings"):
        fit.run(dataclasses.replace(options, resume=True, freeze_backbone=False))


def test_another_trunk_is_refused(options: Options, spec: ModelSpec, tmp_path: Path) -> None:
    path = tmp_path / "half.safetensors"
    half = "deeplabv3plus_mobilenetv2,width=0.5"
    save_checkpoint(path, build_model(half, len(spec.classes)), spec)
    with pytest.raises(Refused, match="does not fit"):
        fit.run(dataclasses.replace(options, init_backbone=path))


def test_contradictory_options(options: Options, donor: Path) -> None:
    with pytest.raises(UsageError, match="exclude each other"):
        dataclasses.replace(options, init=donor)
    with pytest.raises(UsageError, match="would keep random weights"):
        dataclasses.replace(options, init_backbone=None)
