"""The listing of the family, and the receptive field against a slow twin: gradients' support."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from train import models
from train.aspp import ImagePooling
from train.family import ARCHITECTURES, build_model
from train.receptive_field import receptive_field


def test_members_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "models.json"
    names = ["deeplabv1_vgg16", "deeplabv3plus_xception_slim"]
    assert models.main([*names, "--json", str(path)]) == 0
    rows = json.loads(path.read_text())["models"]
    assert [row["name"] for row in rows] == names
    assert [row["params"] for row in rows] == [20_505_429, 3_406_261]
    assert [row["receptive_field"] for row in rows] == [435, 1467]
    assert rows[0]["gmacs"] == pytest.approx(128.58, abs=0.01)
    printed = capsys.readouterr().out
    assert all(name in printed for name in names)


@pytest.mark.slow
def test_without_a_name_the_whole_family_is_listed() -> None:
    listing = models.run(models.Options())
    assert [model.name for model in listing.models] == list(ARCHITECTURES)
    for model in listing.models:
        assert model.gmacs * 1e9 > model.params > 1e6
        assert model.receptive_field > 400


def test_a_member_can_be_listed_with_modifiers(capsys: pytest.CaptureFixture[str]) -> None:
    assert models.main(["deeplabv3plus_mobilenetv2, dense,separable"]) == 2
    assert "exclude each other" in capsys.readouterr().err
    assert models.main(["deeplabv2_vgg16,aspp-l", "deeplabv2_vgg16,aspp-s"]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]]
    assert names == ["deeplabv2_vgg16", "deeplabv2_vgg16,aspp-s"]


def test_multiply_adds_are_those_of_torchs_own_counter() -> None:
    name = "deeplabv3plus_mobilenetv3"
    with torch.device("meta"):
        network = build_model(name, models.CLASSES).eval()
        with FlopCounterMode(display=False) as counter:
            network(torch.zeros(1, 3, *models.SIZE))
    assert models.measured(name).gmacs == pytest.approx(counter.get_total_flops() / 2e9)


FIELDS = {  # k, stride, rate of a chain of convolutions -> its field by hand
    ((3, 1, 1),): 3,
    ((3, 2, 1), (3, 1, 1)): 3 + 2 * 2,
    ((3, 2, 1), (3, 1, 6)): 3 + 2 * 6 * 2,
    ((7, 2, 1), (3, 2, 1), (3, 1, 4)): 7 + 2 * 2 + 2 * 4 * 4,
}


@pytest.mark.parametrize("chain", FIELDS)
def test_a_chain_sees_what_arithmetic_says(chain: tuple[tuple[int, int, int], ...]) -> None:
    layers = [nn.Conv2d(3, 3, k, s, padding=k // 2 * r, dilation=r) for k, s, r in chain]
    assert receptive_field(nn.Sequential(*layers)) == FIELDS[chain]


class Meeting(nn.Module):
    """Two paths of unequal reach that meet in a sum and a concatenation; one path is a mean."""

    def __init__(self) -> None:
        super().__init__()
        self.near = nn.Conv2d(3, 3, 1)
        self.far = nn.Conv2d(3, 3, 3, padding=5, dilation=5)

    def forward(self, images: Tensor) -> Tensor:
        """[N, 3, H, W] -> [N, 9, H, W]."""
        far = self.far(images)
        mean = far.mean((2, 3), keepdim=True).expand_as(far)
        return torch.cat([self.near(images) + far, self.near(images), mean], dim=1)


def test_where_paths_meet_the_widest_counts_and_means_do_not() -> None:
    assert receptive_field(Meeting()) == 11


@pytest.mark.parametrize(
    "name", ["deeplabv3plus_mobilenetv2,width=0.35", "deeplabv2_mobilenetv2,width=0.35,aspp-s"]
)
def test_the_field_is_where_gradients_can_come_from(name: str) -> None:
    """With positive weights and no activation every path counts: the gradient of one logit is not
    zero exactly inside the field. A strip is as good as an image for its height."""
    network = build_model(name, 1).eval()
    field = receptive_field(network)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.constant_(layer.weight, 1 / layer.weight[0].numel())
    for part in network.modules():
        if isinstance(part, ImagePooling):
            nn.init.zeros_(part.project.conv.weight)
    strip = torch.ones(1, 3, 2 * field + 64, 33, dtype=torch.float64, requires_grad=True)
    logits = linear(network).double()(strip)
    logits[0, 0, logits.shape[2] // 2, logits.shape[3] // 2].backward()
    assert strip.grad is not None
    rows = strip.grad[0].abs().sum(dim=(0, 2)).nonzero()
    assert abs(int(rows[-1] - rows[0]) + 1 - field) <= 4


def linear(network: nn.Module) -> nn.Module:
    """Replace every activation and batch norm by the identity, in place."""
    for name, child in network.named_children():
        if isinstance(child, nn.ReLU | nn.ReLU6):
            setattr(network, name, nn.Identity())
        elif isinstance(child, nn.BatchNorm2d):
            child.reset_parameters()
            for activation in ("drop", "act"):
                if hasattr(child, activation):
                    setattr(child, activation, nn.Identity())
        else:
            linear(child)
    return network
