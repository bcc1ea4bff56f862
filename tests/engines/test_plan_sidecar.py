"""Sidecars of plans: what was written is what is read, and each mismatch is told in words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engines import plan_sidecar
from engines.failures import Refused
from engines.gpu_facts import GpuFacts
from engines.plan_sidecar import (
    PORTABLE,
    Environment,
    HashedFile,
    PlanOptions,
    PlanSidecar,
    check_profile,
    environment,
    mismatches,
    rebuild_command,
    remarks,
)
from engines.spec import ModelSpec

ORIN = Environment(
    library="tensorrt",
    version="10.3.0",
    platform="linux-aarch64",
    gpu="Orin",
    compute_capability="8.7",
    driver="540.4.0",
    cuda="12.6",
    power_mode="MAXN",
)
SIDECAR = PlanSidecar(
    target="tensorrt",
    precision="fp16",
    environment=ORIN,
    compute_capabilities=("8.7",),
    plan=HashedFile("tensorrt.fp16.plan", "ab" * 32),
    source=HashedFile("fp16.onnx", "cd" * 32),
    batch=(1, 1, 8),
    size=((360, 480), (360, 480), (360, 480)),
    options=PlanOptions(workspace_mb=1024, optimization_level=3),
    layers={"FP16": 58, "INT8": 6},
)
DESKTOP = replace(
    ORIN, library="tensorrt_rtx", version="1.7.1.116", platform="linux-x86_64",
    gpu="NVIDIA GeForce RTX 4090", compute_capability="8.9", power_mode=None,
)  # fmt: skip
SPEC = ModelSpec("tiny", "none", ("Road",), ((1, 2, 3),), (360, 480), (0.0,) * 3, (1.0,) * 3)


def test_what_was_written_is_what_is_read() -> None:
    assert PlanSidecar.parse(SIDECAR.text().encode()) == SIDECAR


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("format", 0),
        ("batch", [1, 8]),
        ("size", [[360, 480]]),
        ("size", "360x480"),
        ("plan", {"file": "x.plan"}),
        ("plan", {"file": "x.plan", "sha256": 7}),
        ("compute_capabilities", ["eight"]),
        ("compute_capabilities", None),
        ("environment", {"library": ["tensorrt"]}),
        ("layers", [1]),
        ("comment", "no such field"),
    ],
)
def test_a_malformed_sidecar_is_refused(field: str, value: Any) -> None:
    with pytest.raises(Refused, match="sidecar"):
        PlanSidecar.from_json({**SIDECAR.to_json(), field: value})


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b"\xff", b"[" * 100_000, b"null"])
def test_what_is_no_sidecar_is_refused(text: bytes) -> None:
    with pytest.raises(Refused, match="sidecar"):
        PlanSidecar.parse(text)


def test_the_machine_that_built_it_may_load_it() -> None:
    assert mismatches(SIDECAR, ORIN) == []
    assert remarks(SIDECAR, ORIN) == []


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"library": "tensorrt_rtx"}, "a plan of tensorrt, not of tensorrt_rtx"),
        ({"version": "10.13.2"}, "built with tensorrt 10.3.0, here is 10.13.2"),
        ({"platform": "linux-x86_64"}, "built on linux-aarch64, this is linux-x86_64"),
        ({"cuda": "13.0"}, "CUDA 12.6, here is one for 13.0"),
        ({"compute_capability": "11.0", "gpu": "Thor"}, "capability 8.7, Thor has 11.0"),
        ({"gpu": "Orin Nano"}, "built for Orin, this is Orin Nano"),
    ],
)
def test_each_mismatch_is_told(changed: dict[str, str], reason: str) -> None:
    (told,) = mismatches(SIDECAR, replace(ORIN, **changed))
    assert reason in told


def test_all_reasons_are_told_at_once() -> None:
    here = replace(DESKTOP, library="tensorrt", version="11.1")
    assert len(mismatches(SIDECAR, here)) == 3


def test_what_costs_speed_alone_is_a_remark() -> None:
    here = replace(ORIN, driver="540.5.0", power_mode="15W", cuda="12.8")
    assert mismatches(SIDECAR, here) == []
    assert remarks(SIDECAR, here) == [
        "built with driver 540.4.0, now 540.5.0",
        "built at MAXN, now 15W",
    ]


def test_what_is_unknown_is_no_mismatch() -> None:
    here = replace(
        ORIN, version=None, gpu=None, compute_capability=None, driver=None, cuda=None
    )  # fmt: skip
    assert mismatches(SIDECAR, here) == []


@pytest.mark.parametrize(
    ("capability", "fits"), [("8.9", True), ("12.0", True), ("8.0", True), ("7.5", False)]
)
def test_a_portable_plan_runs_on_later_gpus(capability: str, fits: bool) -> None:
    """Built for TensorRT for RTX where no GPU is."""
    built = replace(DESKTOP, gpu=None, compute_capability=None, driver=None, cuda=None)
    plan = replace(SIDECAR, environment=built, compute_capabilities=(PORTABLE,))
    assert (mismatches(plan, replace(DESKTOP, compute_capability=capability)) == []) is fits


def test_a_compatible_plan_runs_on_another_gpu_of_the_same_capability() -> None:
    options = replace(SIDECAR.options, hardware_compatibility="same-compute-capability")
    plan = replace(SIDECAR, options=options)
    assert mismatches(plan, replace(ORIN, gpu="Orin Nano")) == []
    assert mismatches(plan, replace(ORIN, gpu="A4", compute_capability="8.6")) != []


@pytest.mark.parametrize(
    ("changed", "reasons"),
    [
        ({}, 0),
        ({"size": ((32, 32), (360, 480), (720, 960))}, 0),
        ({"size": ((512, 512), (512, 512), (512, 512))}, 1),
        ({"batch": (8, 8, 8)}, 1),
        ({"batch": (1, 4, 2)}, 1),
    ],
)
def test_the_profile_must_take_the_models_frames(changed: dict[str, Any], reasons: int) -> None:
    assert len(list(check_profile(replace(SIDECAR, **changed), SPEC))) == reasons


def test_the_environment_is_what_the_driver_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_sidecar, "probe_gpu", lambda index: GpuFacts("Orin", "8.7", "12.6"))
    monkeypatch.setattr(plan_sidecar, "driver_version", lambda: "540.4.0")
    monkeypatch.setattr(plan_sidecar, "power_mode", lambda: "MAXN")
    here = environment("no_such_library")
    assert here == replace(
        ORIN, library="no_such_library", version=None, platform=here.platform
    )  # fmt: skip


@pytest.mark.parametrize("name", ["my bundle", 'a"b', "$(touch x)", "new\nline", "--fp16", "ü"])
def test_the_rebuild_command_is_safe_to_paste(name: str) -> None:
    import shlex

    words = shlex.split(rebuild_command(Path(name), "tensorrt", "fp16"))
    assert words[-4:] == ["--bundle", name, "--target", "tensorrt"]


def test_the_rebuild_command_asks_for_the_same_profile_and_options() -> None:
    plain = rebuild_command(Path("b"), "tensorrt", "fp16", replace(SIDECAR, batch=(1, 1, 1)))
    assert plain.endswith("--bundle b --target tensorrt --workspace-mb 1024 --optimisation-level 3")
    built = replace(
        SIDECAR,
        size=((90, 120), (360, 480), (720, 960)),
        options=PlanOptions(512, hardware_compatibility="ampere-plus"),
    )
    command = rebuild_command(Path("b"), "tensorrt", "fp16", built)
    assert command.endswith(
        "--target tensorrt --batch 1:1:8 --input-size 90x120:360x480:720x960 --workspace-mb 512 "
        "--hardware-compatible"
    )
    from export.build_engine import parse

    for line in (plain, command):
        assert parse(line.split()[2:]).bundle == Path("b")
