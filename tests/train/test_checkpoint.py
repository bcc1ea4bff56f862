"""Checkpoints: what is saved comes back, and what does not fit is refused in one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from engines.failures import Refused, UsageError
from engines.spec import ModelSpec
from train.checkpoint import bundled, load_model, save_checkpoint
from train.family import build_model
from train.network import Network


@pytest.fixture(scope="module")
def network(spec: ModelSpec) -> Network:
    torch.manual_seed(0)
    return build_model(spec.architecture, len(spec.classes))


@pytest.fixture
def checkpoint(tmp_path: Path, network: Network, spec: ModelSpec) -> Path:
    path = tmp_path / "tiny.safetensors"
    save_checkpoint(path, network, spec)
    return path


def test_round_trip_is_exact(checkpoint: Path, network: Network, spec: ModelSpec) -> None:
    loaded, loaded_spec = load_model(checkpoint)
    assert loaded_spec == spec
    assert not loaded.training
    for name, value in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name


def test_half_storage_loads_as_float32(tmp_path: Path, network: Network, spec: ModelSpec) -> None:
    path = tmp_path / "half.safetensors"
    save_checkpoint(path, network, spec, half=True)
    assert path.stat().st_size < 0.52 * sum(4 * t.numel() for t in network.state_dict().values())
    for name, value in load_model(path)[0].state_dict().items():
        expected = network.state_dict()[name]
        assert value.dtype == expected.dtype, name
        torch.testing.assert_close(value, expected, rtol=2**-11, atol=2**-25)


def test_output_stride_can_be_changed_on_loading(checkpoint: Path) -> None:
    network, _ = load_model(checkpoint, output_stride=8)
    assert network.backbone(torch.zeros(1, 3, 64, 96))[1].shape[2:] == (8, 12)


def test_missing_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"no checkpoint at .*nowhere.* train/fit.py"):
        load_model(tmp_path / "nowhere.safetensors")


def test_missing_spec_is_refused(checkpoint: Path) -> None:
    checkpoint.with_suffix(".json").unlink()
    with pytest.raises(Refused, match="must stand beside the checkpoint"):
        load_model(checkpoint)


@pytest.mark.parametrize("keep", [0, 5, 1000, -1])
def test_broken_off_checkpoint_is_refused(checkpoint: Path, keep: int) -> None:
    checkpoint.write_bytes(checkpoint.read_bytes()[:keep])
    with pytest.raises(Refused, match="not a safetensors checkpoint"):
        load_model(checkpoint)


def test_checkpoint_of_other_classes_is_refused(checkpoint: Path) -> None:
    spec = checkpoint.with_suffix(".json")
    data = json.loads(spec.read_text())
    data["classes"], data["palette"] = data["classes"][:3], data["palette"][:3]
    spec.write_text(json.dumps(data))
    with pytest.raises(Refused, match=r"decoder.classifier.* \(11.* in the file and \(3"):
        load_model(checkpoint)


def test_checkpoint_of_another_architecture_is_refused(checkpoint: Path) -> None:
    spec = checkpoint.with_suffix(".json")
    spec.write_text(spec.read_text().replace("mobilenetv2", "xception41"))
    with pytest.raises(Refused, match="does not fit the network of its spec"):
        load_model(checkpoint)


def test_checkpoint_of_an_unknown_architecture_is_refused(checkpoint: Path) -> None:
    spec = checkpoint.with_suffix(".json")
    spec.write_text(spec.read_text().replace("mobilenetv2", "mobilenetv9"))
    with pytest.raises(Refused, match=r"cannot build .*mobilenetv9': did you mean deeplabv3plus_"):
        load_model(checkpoint)


def test_unknown_bundled_name_says_which_there_are() -> None:
    with pytest.raises(UsageError, match="did you mean camvid-mobilenetv2"):
        bundled("camvid-mobilenet")
    with pytest.raises(UsageError, match="bundled: camvid-mobilenetv2"):
        bundled("segformer")


def test_bundled_model_loads_and_is_small() -> None:
    path = bundled()
    network, spec = load_model(path)
    assert path.stat().st_size <= 12e6
    assert (spec.name, spec.input_size) == (path.stem, (360, 480))
    assert all(torch.isfinite(t).all() for t in network.state_dict().values())
    assert path.with_suffix(".md").is_file()
