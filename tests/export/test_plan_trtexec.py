"""The command of NVIDIA's tool: a shell gives back exactly the words that were meant."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from export.plans.settings import BuildSettings
from export.plans.trtexec import command_line
from tests.export.fake_tensorrt import FakeTensorRt

FRAMES = (1, 32, 48, 3)
FP16 = BuildSettings("fp16")


def words(trt: Any, settings: BuildSettings, frames: tuple[int, ...] = FRAMES) -> list[str]:
    return shlex.split(command_line(trt, settings, Path("a/g.onnx"), Path("p.plan"), frames))


def test_the_plain_command() -> None:
    assert words(FakeTensorRt("10.3.0"), FP16) == [
        "trtexec", "--onnx=a/g.onnx", "--saveEngine=p.plan", "--stronglyTyped",
        "--memPoolSize=workspace:1024M", "--profilingVerbosity=detailed", "--skipInference",
    ]  # fmt: skip
    assert "--stronglyTyped" not in words(FakeTensorRt("11.1.0"), FP16)


def test_every_setting_has_its_argument(tmp_path: Path) -> None:
    settings = replace(
        FP16, batch=(1, 4, 8), optimisation_level=5, hardware_compatible=True,
        timing_cache=Path("t.cache"),
    )  # fmt: skip
    found = words(FakeTensorRt(), settings, (-1, 32, 48, 3))
    assert set(found) >= {
        "--builderOptimizationLevel=5", "--hardwareCompatibilityLevel=ampere+",
        "--timingCacheFile=t.cache", "--minShapes=frames:1x32x48x3",
        "--optShapes=frames:4x32x48x3", "--maxShapes=frames:8x32x48x3",
    }  # fmt: skip


def test_weak_typing_is_flags() -> None:
    found = words(FakeTensorRt(), BuildSettings("int8", weakly_typed=True))
    assert {"--fp16", "--int8"} <= set(found)
    assert "--stronglyTyped" not in found


def test_rtx_has_a_tool_of_its_own() -> None:
    rtx = FakeTensorRt("11.1.0")
    rtx.ComputeCapability = SimpleNamespace()  # type: ignore[attr-defined]
    found = words(rtx, replace(FP16, compute_capabilities=("8.9", "12.0")))
    assert found[0] == "tensorrt_rtx"
    assert "--computeCapabilities=89,120" in found
    assert "--useGpu" in words(rtx, replace(FP16, compute_capabilities=("current",)))


@pytest.mark.parametrize("name", ["a b", "it's", '"', "$(touch x)", "`touch x`", "a;b", "ü\n"])
def test_no_file_name_means_anything_to_a_shell(name: str) -> None:
    trt: Any = FakeTensorRt()
    line = command_line(trt, FP16, Path(name) / "g.onnx", Path("p.plan"), FRAMES)
    assert shlex.split(line)[1] == f"--onnx={name}/g.onnx"
