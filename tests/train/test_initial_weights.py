"""Folded weights become convolution + batch norm without changing what the network computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

from engines.failures import Refused
from scenes.dataset import open_dataset
from train.family import build_model
from train.initial_weights import conv_bn_pairs, import_folded, read_layer


def backbone(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    network: nn.Module = timm.create_model(
        "mobilenetv2_100", features_only=True, out_indices=(1, 4), output_stride=16
    )
    return network.eval()


def statistics(bn: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Running mean and variance."""
    assert bn.running_mean is not None
    assert bn.running_var is not None
    return bn.running_mean, bn.running_var


def randomise_statistics(network: nn.Module) -> None:
    for _, bn in conv_bn_pairs(network):
        mean, var = statistics(bn)
        for value in (bn.weight, var):
            nn.init.uniform_(value, 0.5, 1.5)
        for value in (bn.bias, mean):
            nn.init.normal_(value, std=0.1)


def write_folded(network: nn.Module, path: Path) -> None:
    """The textbook folding: w' = w g / sqrt(v + eps), b' = b - m g / sqrt(v + eps)."""
    arrays: dict[str, Any] = {}
    for index, (conv, bn) in enumerate(conv_bn_pairs(network)):
        mean, var = statistics(bn)
        scale = (bn.weight / (var + bn.eps).sqrt()).detach()
        arrays[f"{index:02d}/w"] = (conv.weight.detach() * scale[:, None, None, None]).numpy()
        arrays[f"{index:02d}/b"] = (bn.bias - mean * scale).detach().numpy()
    np.savez(path, **arrays)


@pytest.fixture(scope="module")
def images() -> list[Tensor]:
    torch.manual_seed(5)
    return [torch.rand(2, 3, 48, 64) * 2 - 1 for _ in range(3)]


@pytest.fixture(scope="module")
def original() -> nn.Module:
    network = backbone(1)
    randomise_statistics(network)
    return network


@pytest.fixture
def folded(original: nn.Module, tmp_path: Path) -> Path:
    path = tmp_path / "folded.npz"
    write_folded(original, path)
    return path


@torch.no_grad()
def test_the_imported_network_computes_what_the_folded_one_did(
    original: nn.Module, folded: Path, images: list[Tensor]
) -> None:
    network = backbone(2)
    import_folded(network, folded, images)
    for ours, theirs in zip(network(images[0]), original(images[0]), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


@torch.no_grad()
def test_statistics_are_those_of_the_frames(folded: Path, images: list[Tensor]) -> None:
    network = backbone(2)
    import_folded(network, folded, images)
    conv, bn = conv_bn_pairs(network)[0]
    output = conv(torch.cat(images)).double()
    mean, var = (value.double() for value in statistics(bn))
    torch.testing.assert_close(mean, output.mean((0, 2, 3)), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(var, output.var((0, 2, 3), correction=0), rtol=1e-5, atol=1e-6)


def test_weights_of_another_network_are_refused(folded: Path, images: list[Tensor]) -> None:
    other = timm.create_model("mobilenetv2_050", features_only=True)
    with pytest.raises(Refused, match="does not fit this backbone: layer 0"):
        import_folded(other, folded, images)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="no initial weights at"):
        read_layer(tmp_path / "nowhere.npz", 0)


def test_corrupt_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "broken.npz"
    path.write_bytes(b"PK\x03\x04 broken off")
    with pytest.raises(Refused, match="no usable layer 00"):
        read_layer(path, 0)


@pytest.mark.data
def test_published_weights_give_batch_norms_that_add_their_bias(deeplab_data: Path) -> None:
    source = deeplab_data / "weights" / "deeplabv3_mnv2_voc_dequant.npz"
    dataset = open_dataset(f"camvid:{deeplab_data / 'camvid'}", "train")
    frames = np.stack([dataset[index].frame[::2, ::2] for index in (0, 200)])
    network = build_model("deeplabv3plus_mobilenetv2", 11).backbone
    import_folded(network, source, [torch.tensor(frames).permute(0, 3, 1, 2) / 127.5 - 1])
    for index, (_, bn) in enumerate(conv_bn_pairs(network)):
        mean, var = statistics(bn)
        scale = bn.weight / (var + bn.eps).sqrt()
        torch.testing.assert_close(scale, torch.ones_like(scale))
        bias = bn.bias - mean * scale
        torch.testing.assert_close(bias, read_layer(source, index)[1], rtol=1e-4, atol=1e-4)
