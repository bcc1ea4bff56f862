"""Hostile input of a build: refused with the reason, unread, and no name is ever executed."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, numpy_helper

from engines.bundle import Bundle
from export.build_engine import main
from tests.export.fake_tensorrt import FakeTensorRt
from tests.export.miniature import SPEC, miniature

NAMES = [
    "two words", "it's \"quoted\"", "$(touch pwned)", "`touch pwned`", "a;touch pwned;b",
    "new\nline", "-dash", "ünï", "n" * 250,
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the test works, so that a name that were executed would leave a file there."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(path: Path, model: ModelProto) -> Path:
    path.write_bytes(model.SerializeToString())
    path.with_suffix(".json").write_text(json.dumps(SPEC.to_json()))
    return path


@pytest.mark.parametrize("name", NAMES)
def test_any_file_name_works_and_means_nothing(folder: Path, name: str) -> None:
    graph = written(folder / f"{name}.onnx", miniature())
    out = folder / "out" / name
    command = [f"--onnx={graph}", "--fp16", "--target", "cpu", f"--out={out}"]
    assert main(command) == 0
    assert Bundle.open(out).manifest.precision == "fp16"
    assert {path.name for path in folder.iterdir()} == {graph.name, f"{name}.json", "out"}


@pytest.mark.parametrize(
    ("target", "words", "code"),
    [
        ("tensorrt", ["--weakly-typed"], 2),
        ("tensorrt", ["--compute-capability", "8.9"], 2),
        pytest.param(
            "tensorrt-rtx", ["--compute-capability", "8.7"], 6, marks=pytest.mark.tensorrt
        ),
    ],
)
def test_what_a_library_does_not_have_is_told_before_any_work(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    target: str,
    words: list[str],
    code: int,
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", FakeTensorRt("11.1.0"))
    graph = written(folder / "net.onnx", miniature())
    command = ["--fp16", "--onnx", str(graph), "--target", target, "--out", str(folder / "out")]
    assert main([*command, *words]) == code
    assert len(capsys.readouterr().err.splitlines()) == 1  # and no line of a step


def external(location: str) -> Callable[[ModelProto, Path], None]:
    def change(model: ModelProto, folder: Path) -> None:
        tensor = model.graph.initializer[0]
        (folder / "secret").write_bytes(tensor.raw_data)
        (folder / "link").symlink_to("secret")
        os.link(folder / "secret", folder / "hard")
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location.format(folder=folder))

    return change


def huge_tensor(model: ModelProto, folder: Path) -> None:
    model.graph.initializer[0].dims[:] = [10**6, 10**6]


def huge_constant(model: ModelProto, folder: Path) -> None:
    shape = numpy_helper.from_array(np.array([1, 32, 10**6, 10**6]), "target")
    next(t for t in model.graph.initializer if t.name == "target").CopyFrom(shape)


def huge_frames(model: ModelProto, folder: Path) -> None:
    dims = model.graph.input[0].type.tensor_type.shape.dim
    dims[1].dim_value = dims[2].dim_value = 10**6
    spec = SPEC.to_json() | {"input_size": [10**6, 10**6]}
    (folder / "evil.json").write_text(json.dumps(spec))


EVIL = {
    "a symbolic link": (external("link"), "not a link"),
    "a hard link": (external("hard"), "plain file with one name"),
    "the folder above": (external("../secret"), "only a file directly in the folder"),
    "an absolute path": (external("{folder}/secret"), "only a file directly in the folder"),
    "a tensor of 10^12": (huge_tensor, r"[1000000, 1000000]"),
    "an activation of 10^12": (huge_constant, "1000000, 1000000"),
    "frames of 10^12": (huge_frames, "(1000000, 1000000) is not of 32 to 16384"),
}


@pytest.mark.parametrize("kind", EVIL)
def test_a_hostile_graph_is_refused_with_the_reason(
    kind: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = miniature()
    change, words = EVIL[kind]
    graph = written(folder / "evil.onnx", model)
    change(model, folder)
    graph.write_bytes(model.SerializeToString())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert main(["--fp16", "--onnx", str(graph), "--out", str(folder / "out")]) == 6
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 500_000  # kB
    assert words in capsys.readouterr().err
    assert not (folder / "out").exists()


def test_a_file_of_many_gigabytes_is_refused_unread(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    graph = written(folder / "evil.onnx", miniature())
    with graph.open("r+b") as file:
        file.truncate(10 * 2**30)  # a sparse file
    assert main(["--fp16", "--onnx", str(graph), "--out", str(folder / "out")]) == 6
    assert "10,240 MiB" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", [".onnx", ".json"])
@pytest.mark.parametrize("endless", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_what_has_no_end_is_refused_unread(
    folder: Path, suffix: str, endless: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """A named pipe that nobody writes to, and a link to a device: an archive may hold both."""
    graph = written(folder / "evil.onnx", miniature())
    graph.with_suffix(suffix).unlink()
    endless(graph.with_suffix(suffix))
    assert main(["--fp16", "--onnx", str(graph), "--out", str(folder / "out")]) == 6
    said = capsys.readouterr().err
    assert ("is no plain file" if suffix == ".onnx" else "no model spec at") in said


def test_the_command_itself_refuses_without_a_traceback(folder: Path) -> None:
    model = miniature()
    huge_tensor(model, folder)
    graph = written(folder / "$(touch pwned).onnx", model)
    script = Path(__file__).parents[2] / "export" / "build_engine.py"
    result = subprocess.run(
        [sys.executable, str(script), "--fp16", "--onnx", str(graph)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 6
    assert result.stderr.startswith("error: tensor 'stem'")
    assert len(result.stderr.splitlines()) == 1
    assert not (folder / "pwned").exists()
