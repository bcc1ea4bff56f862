"""A missing package is named with the extra that brings it, and only then."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from engines import extras
from engines.command import run_command

REQUIREMENTS = [
    "numpy>=1.26",
    'opencv-python>=4.8; extra == "window"',
    'torch>=2.10; python_version >= "3.99" and extra == "train"',
    'tqdm>=4.66; extra == "train"',
    'tqdm>=4.66; extra == "export"',
    'onnx>=1.21; extra == "export"',
    'onnxsim>=0.6; extra == "export"',
    'tensorrt-rtx-cu13>=1.7; extra == "export"',
]


@dataclass(frozen=True)
class Options:
    json: Path | None = None


@pytest.fixture(autouse=True)
def requirements(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "_requirements", lambda: REQUIREMENTS)


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("onnx.helper", "pip install 'deeplab-edge[export]'"),
        ("cv2", "pip install 'deeplab-edge[window]'"),
        ("tensorrt_rtx", "pip install 'deeplab-edge[export]'"),
        ("tqdm", "pip install 'deeplab-edge[train]' or 'deeplab-edge[export]'"),
    ],
)
def test_the_extra_is_named(module: str, line: str) -> None:
    sentence = extras.how_to_get(module)
    assert sentence is not None
    assert sentence.startswith(module.partition(".")[0])
    assert sentence.endswith(line)


def test_a_python_that_is_too_old_is_the_reason() -> None:
    assert "is for Python 3.99 or later, this is 3." in (extras.how_to_get("torch") or "")


@pytest.mark.parametrize("module", ["", "numpy", "onnx_not_ours", "engines.missing"])
def test_what_no_extra_brings_is_not_explained(module: str) -> None:
    assert extras.how_to_get(module) is None


def run_without(module: str) -> int:
    def run(_: Options) -> None:
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)

    return run_command([], lambda _: Options(), run, lambda _: None)


def test_a_command_says_it_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_without("onnx") == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: onnx is not installed")


def test_a_mistyped_module_of_our_own_keeps_its_traceback() -> None:
    with pytest.raises(ModuleNotFoundError):
        run_without("engines.missing")


def test_the_installed_package_tells_its_requirements(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert "'deeplab-edge[train]'" in (extras.how_to_get("torch") or "")
    monkeypatch.setattr(extras, "PACKAGE", "never-installed")
    assert extras.how_to_get("torch") is None
