"""What ships in train/weights belongs together: checkpoint, spec, ranges and the network."""

from __future__ import annotations

import hashlib

import pytest

from calibration.calibrate import shipped_ranges
from engines.spec import load_spec

pytest.importorskip("torch")

from train.checkpoint import DEFAULT, WEIGHTS, bundled, load_model

NAMES = sorted(path.stem for path in WEIGHTS.glob("*.safetensors"))


def test_the_default_ships() -> None:
    assert DEFAULT in NAMES


@pytest.mark.parametrize("name", NAMES)
def test_spec_ranges_and_card_belong_to_the_checkpoint(name: str) -> None:
    path = bundled(name)
    spec = load_spec(path.with_suffix(".json"))
    assert spec.name == name
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    ranges = shipped_ranges(path.with_suffix(".ranges.json"), digest, spec)
    assert ranges.frame_count >= 100
    assert "CC BY-NC" in path.with_suffix(".md").read_text()
    assert path.stat().st_size <= 12e6
    network, _ = load_model(path)
    modules = dict(network.named_modules())
    for tensor in ranges.tensors:
        assert tensor.rpartition("/")[0] in {"normalise", *modules}, tensor
