"""The import command: what it accepts as a checkpoint, and what it says of everything else."""

from __future__ import annotations

import argparse
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from engines.failures import Refused
from scenes.voc import CLASSES, PALETTE
from train.checkpoint import load_model
from train.family import build_model
from train.foreign import checkpoint
from train.foreign.checkpoint import read_foreign
from train.import_checkpoint import main, parse, run

ARCHITECTURE = "vainf_deeplabv3_mobilenet"


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return dict(build_model(ARCHITECTURE, 21).state_dict())


def flags(path: Path, out: Path, more: str = "") -> list[str]:
    fixed = f"--from vainf --weights {path} --classes voc --out OUT --input-size 64x96"
    return [str(out) if word == "OUT" else word for word in [*fixed.split(), *more.split()]]


def same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    return found.keys() == expected.keys() and all(
        torch.equal(found[key], expected[key]) for key in expected
    )


def test_the_command_writes_a_checkpoint_and_its_spec(
    weights: dict[str, Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, report = tmp_path / "best_os16.pth", tmp_path / "report.json"
    torch.save({"model_state": weights, "cur_itrs": 30000}, path)
    assert main(flags(path, tmp_path / "my runs", f"--json {report}")) == 0
    checkpoint = tmp_path / "my runs" / "best_os16.safetensors"
    network, spec = load_model(checkpoint)
    assert same(dict(network.state_dict()), weights)
    assert (spec.architecture, spec.name) == (ARCHITECTURE, "best_os16")
    assert (spec.classes, spec.palette) == (CLASSES, PALETTE)
    assert (spec.input_size, spec.output_stride, spec.logits_stride) == ((64, 96), 16, 16)
    assert spec.mean == pytest.approx((0.485 * 255, 0.456 * 255, 0.406 * 255))
    assert spec.std == pytest.approx((0.229 * 255, 0.224 * 255, 0.225 * 255))
    written = json.loads(report.read_text())
    assert (written["checkpoint"], written["left_out"]) == (str(checkpoint), 0)
    assert written["spec"]["architecture"] == ARCHITECTURE
    assert f"build_engine.py --int8 --checkpoint '{checkpoint}' " in capsys.readouterr().out


def test_flags_that_weights_cannot_tell(weights: dict[str, Tensor], tmp_path: Path) -> None:
    path, legend = tmp_path / "w.pth", tmp_path / "classes.json"
    torch.save(weights, path)
    legend.write_text(json.dumps({"classes": [f"c{n}" for n in range(21)]}))
    more = f"--classes {legend} --output-stride 8 --normalise symmetric --name mine"
    spec = run(parse(flags(path, tmp_path, more))).spec
    assert (spec.name, spec.classes[20], len(spec.palette)) == ("mine", "c20", 21)
    assert (spec.output_stride, spec.logits_stride, spec.mean) == (8, 8, (127.5,) * 3)


STORED: dict[str, Any] = {
    "bare": lambda w: w,
    "data-parallel": lambda w: {f"module.{key}": value for key, value in w.items()},
    "vainf": lambda w: {"model_state": w, "best_score": np.float64(0.7), "cur_itrs": 1},
    "jfzhang95": lambda w: {"epoch": 1, "state_dict": w, "best_pred": np.float32(0.7)},
    "torchvision": lambda w: {"model": w, "args": argparse.Namespace(lr=0.1, data=None)},
    "half": lambda w: {k: t.half() if t.is_floating_point() else t for k, t in w.items()},
}


@pytest.mark.parametrize("form", STORED)
@pytest.mark.parametrize("legacy", [False, True])
def test_weights_are_found_in_what_scripts_save(form: str, legacy: bool, tmp_path: Path) -> None:
    expected = {"a.weight": torch.arange(6.0).view(2, 3), "a.num_batches_tracked": torch.tensor(3)}
    path = tmp_path / "w.pth.tar"
    torch.save(STORED[form](expected), path, _use_new_zipfile_serialization=not legacy)
    assert same(read_foreign(path), expected)


def test_numpy_1_named_its_scalars_differently(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    stored = {"state_dict": {"a": torch.zeros(1)}, "best_pred": np.float64(0.7)}
    torch.save(stored, path, _use_new_zipfile_serialization=False)
    renamed = path.read_bytes().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    path.write_bytes(renamed)
    assert read_foreign(path).keys() == {"a"}


def test_safetensors_are_read(tmp_path: Path) -> None:
    expected = {"a": torch.ones(2)}
    save_file(expected, tmp_path / "w.safetensors")
    assert same(read_foreign(tmp_path / "w.safetensors"), expected)


class Trap:
    """Code that a careless reader would run."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("trap-was-sprung"),)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, content in (("trap", {"state_dict": Trap()}), ("whole", torch.nn.Linear(1, 1))):
        path = tmp_path / f"{name}.pth"
        torch.save(content, path)
        with pytest.raises(Refused, match=r"needs the code of [\w.]+ to be read, and code from"):
            read_foreign(path)
    assert not Path("trap-was-sprung").exists()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"state_dict": {"epoch": 3}}, "holds no state dict: 'epoch' is a int"),
        ({}, "holds no weights, but a dict"),
        ([torch.ones(1)], "holds no weights, but a list"),
    ],
)
def test_other_content_is_named(content: Any, sentence: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(Refused, match=sentence):
        read_foreign(tmp_path / "w.pth")


@pytest.mark.parametrize("keep", [0, 3, 100, -30])
def test_a_broken_off_file_is_refused(keep: int, tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save({"a": torch.ones(1000)}, path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(Refused, match=r"no readable PyTorch checkpoint|is no plain checkpoint"):
        read_foreign(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"no checkpoint at .*w\.pth: check the path"):
        read_foreign(tmp_path / "w.pth")


def test_sizes_are_limited_packed_and_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "MAX_BYTES", 10_000)
    torch.save({"a": torch.zeros(4000)}, tmp_path / "large.pth")
    with zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb/data.pkl", bytes(100_000))
    assert (tmp_path / "bomb.pth").stat().st_size < 1000
    for name in ("large", "bomb"):
        with pytest.raises(Refused, match=r"GiB, the limit is .*: save only network\.state_dict"):
            read_foreign(tmp_path / f"{name}.pth")


LAYER = "classifier.classifier.1.weight"


def without(weights: dict[str, Tensor], key: str) -> dict[str, Tensor]:
    return {name: value for name, value in weights.items() if name != key}


@pytest.mark.parametrize(
    ("change", "more", "code", "sentence"),
    [
        (
            lambda w: without(w, "classifier.classifier.1.weight"),
            "",
            6,
            "nearest is vainf_deeplabv3_m",
        ),
        (
            lambda w: w | {"extra": torch.ones(1)},
            "",
            6,
            "where extra is absent and in the file (1,)",
        ),
        (
            lambda w: w | {"classifier.classifier.1.weight": torch.full((256, 256, 3, 3), np.nan)},
            "",
            6,
            "classifier.classifier.1.weight holds a value that is no number",
        ),
        (lambda w: w, "--classes cityscapes", 6, "trained for 21 classes, but --classes names 19"),
        (lambda w: w, "--classes nowhere", 2, "nowhere: voc, cityscapes, camvid, or the file"),
        (lambda w: w, "--output-stride 32", 2, "cannot run at output stride 32"),
        (lambda w: w, "--input-size 65x97", 6, "does not run at 65x97: choose an --input-size"),
        (lambda w: w, "--input-size 16x96", 2, "--input-size must be at least 32x32"),
        (lambda w: w, "--encoder resnet18", 2, "--from smp needs --encoder NAME"),
        (lambda w: w, "--full-size", 2, "--full-size changes nothing for vainf"),
        (lambda w: w, "--rates 6-12-18", 2, "--rates is for --from smp"),
    ],
)
def test_what_cannot_be_imported_says_why(
    weights: dict[str, Tensor],
    change: Any,
    more: str,
    code: int,
    sentence: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "w.pth"
    torch.save(change(weights), path)
    assert main(flags(path, tmp_path / "out", more)) == code
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_counters_of_old_files_may_be_missing(weights: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save({k: v for k, v in weights.items() if "num_batches" not in k}, path)
    result = run(parse(flags(path, tmp_path)))
    assert same(dict(load_model(result.checkpoint)[0].state_dict()), weights)
