"""ImageNet trunks: timm's weights arrive in the network, and without a way to them it says so."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import save_file

from engines.failures import Refused, UsageError
from train import family, fit
from train.family import build_model
from train.fit_data import open_data
from train.fit_options import Options
from train.pretrained import normalisation

MOBILENET = "deeplabv3plus_mobilenetv2,width=0.5"
create_model = timm.create_model


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """What the hub would give: a trained classifier's state dict, here drawn at random."""
    torch.manual_seed(0)
    weights = create_model("mobilenetv2_050").state_dict()
    save_file(weights, tmp_path / "model.safetensors")
    local = {"file": str(tmp_path / "model.safetensors")}

    def create(*args: Any, **options: Any) -> Any:
        options["pretrained_cfg_overlay"] = local
        return create_model(*args, **options)

    monkeypatch.setattr(timm, "create_model", create)
    return weights


def test_the_trunk_starts_with_the_published_weights(published: dict[str, torch.Tensor]) -> None:
    trunk = build_model(MOBILENET, 11, pretrained=True).backbone.state_dict()
    assert len(trunk) > 200
    for key, value in trunk.items():
        assert torch.equal(value, published[key]), key


def test_frames_are_normalised_as_the_trunk_knows_them() -> None:
    mean, std = normalisation("deeplabv3plus_mobilenetv2")
    assert mean == pytest.approx((123.675, 116.28, 103.53))
    assert std == pytest.approx((58.395, 57.12, 57.375))
    assert normalisation("deeplabv3plus_xception65") == ((127.5,) * 3, (127.5,) * 3)


def test_without_a_network_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is the one that timm lets through when the hub is out of reach."""
    hub = logging.getLogger("huggingface_hub")
    before, during = hub.level, []

    def create(*_: Any, **__: Any) -> Any:
        during.append(hub.level)
        raise LocalEntryNotFoundError("An error happened while trying to locate the file")

    monkeypatch.setattr(timm, "create_model", create)
    with pytest.raises(Refused, match=r"weights of mobilenetv2_050 could not be fetched \(Local"):
        build_model(MOBILENET, 11, pretrained=True)
    assert during == [logging.ERROR]
    assert hub.level == before


@pytest.mark.parametrize(
    ("architecture", "sentence"),
    [
        ("deeplabv3plus_mobilenetv2,width=0.35", "no ImageNet weights of mobilenetv2_035"),
        ("deeplabv3plus_xception_slim", "no ImageNet weights of xception_slim"),
        ("torchvision_deeplabv3_resnet50", "brings no ImageNet trunk: import a checkpoint of it"),
    ],
)
def test_trunks_without_weights_are_named(architecture: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        build_model(architecture, 11, pretrained=True)
    with pytest.raises(UsageError, match=sentence):
        normalisation(architecture)


def test_fit_fetches_once_and_feeds_what_the_trunk_knows(
    camvid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def build(architecture: str, classes: int, stride: int, pretrained: bool) -> Any:
        asked.append((architecture, classes, stride, pretrained))
        raise Refused("no network in this test")

    monkeypatch.setattr(family, "build_model", build)
    flags = f"--data camvid:{camvid} --run {tmp_path} --pretrained --architecture {MOBILENET}"
    assert fit.main(flags.split()) == 6
    assert fit.main([*flags.split(), "--resume"]) == 6
    assert asked == [(MOBILENET, 11, 16, True), (MOBILENET, 11, 16, False)]
    options = fit.parse(flags.split())
    spec = fit.new_spec(options, open_data(options))
    assert (spec.mean, spec.std) == normalisation(MOBILENET)


def test_a_network_has_one_start() -> None:
    with pytest.raises(UsageError, match="--init, --init-backbone and --pretrained exclude"):
        Options(data=("camvid:x",), init=Path("w.npz"), pretrained=True)
