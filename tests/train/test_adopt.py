"""Adopting a checkpoint: half the bytes, nearly the same network, a name, no stale CRF."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from engines.spec import CrfParams, ModelSpec
from train import adopt
from train.checkpoint import load_model, save_checkpoint
from train.family import build_model


def test_a_checkpoint_is_stored_in_half_precision_under_its_new_name(
    camvid: Path, spec: ModelSpec, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    trained, weights = tmp_path / "run" / "tiny.safetensors", tmp_path / "weights"
    network = build_model(spec.architecture, len(spec.classes)).eval()
    with_crf = dataclasses.replace(spec, crf=CrfParams(4, 20, 10, 3, 3, iterations=3))
    save_checkpoint(trained, network, with_crf)
    flags = f"{trained} --data camvid:{camvid} --name small --weights {weights}"
    report = tmp_path / "adopt.json"
    assert adopt.main([*flags.split(), "--json", str(report)]) == 0
    stored = weights / "small.safetensors"
    assert stored.stat().st_size < 0.6 * trained.stat().st_size
    other, kept = load_model(stored)
    assert (kept.name, kept.crf) == ("small", None)
    frames = torch.rand(1, 3, 64, 96) * 2 - 1
    with torch.no_grad():
        torch.testing.assert_close(other(frames), network(frames), rtol=0.02, atol=1e-4)
    result = json.loads(report.read_text())
    assert result["stored_miou"] == pytest.approx(result["miou"], abs=2)
    assert "--save-ranges" in capsys.readouterr().out


def test_what_does_not_fit_is_refused_before_anything_is_written(
    camvid: Path, spec: ModelSpec, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    two = dataclasses.replace(spec, classes=spec.classes[:2], palette=spec.palette[:2])
    save_checkpoint(tmp_path / "two.safetensors", build_model(two.architecture, 2), two)
    weights = tmp_path / "weights"
    flags = f"{tmp_path / 'two.safetensors'} --data camvid:{camvid} --weights {weights}"
    assert adopt.main(flags.split()) == 6
    assert "but the model tiny was trained for Sky, Building" in capsys.readouterr().err
    save_checkpoint(tmp_path / "two.safetensors", build_model(spec.architecture, 11), spec)
    assert adopt.main([*flags.split(), "--name", "a/b"]) == 2
    assert "'a/b' is no file name" in capsys.readouterr().err
    assert not weights.exists()


def test_a_missing_checkpoint_is_one_sentence(
    camvid: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert adopt.main(["/no.safetensors", "--data", f"camvid:{camvid}"]) == 6
    assert "no checkpoint at /no.safetensors" in capsys.readouterr().err
