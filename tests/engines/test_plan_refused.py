"""Plans that are refused, and that nothing of them was deserialised by then."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines import plan_sidecar
from engines.bundle import Bundle
from engines.failures import DeviceMissing, Refused, UsageError
from engines.plan_sidecar import HashedFile, PlanSidecar
from engines.tensorrt_session import open_tensorrt
from tests.engines.fake_gpu import FakeGpu
from tests.engines.fake_tensorrt import FakeLibrary, plan
from tests.engines.plan_bundles import (
    FRAMES,
    REBUILD,
    assert_given_back,
    build,
    network,
    opened,
)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"version": "10.13.2"}, "built with tensorrt 10.13.2, here is 10.3.0"),
        ({"platform": "linux-riscv"}, "built on linux-riscv"),
        ({"cuda": "13.0"}, "CUDA 13.0"),
        ({"gpu": "Orin Nano"}, "built for Orin Nano, this is Orin"),
        ({"library": "tensorrt_rtx"}, "a plan of tensorrt_rtx, not of tensorrt"),
    ],
)
def test_a_plan_of_another_machine_is_not_deserialised(
    tensorrt: FakeLibrary, gpu: FakeGpu, tmp_path: Path, changed: dict[str, str], reason: str
) -> None:
    def edit(sidecar: PlanSidecar) -> PlanSidecar:
        return replace(sidecar, environment=replace(sidecar.environment, **changed))

    with pytest.raises(Refused, match=f"{reason}.*; build it again: {REBUILD}"):
        opened(tmp_path, tensorrt, edit=edit)
    assert not tensorrt.log
    assert not gpu.memory


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"compute_capabilities": ("8.6",)}, "compute capability 8.6, Orin has 8.7"),
        ({"plan": HashedFile("fp16.plan", "0" * 64)}, "describes a plan with sha256 0000"),
        ({"source": HashedFile("fp16.onnx", "0" * 64)}, "built from another fp16.onnx"),
        ({"source": HashedFile("gone.onnx", "0" * 64)}, "built from another gone.onnx"),
        ({"precision": "int8"}, "its sidecar says int8"),
        ({"target": "tensorrt-rtx"}, "its sidecar says fp16 for tensorrt-rtx"),
        ({"size": ((64, 64),) * 3}, "its frames are 64x64 to 64x64, the model's 32x48"),
        ({"batch": (2, 4, 8)}, "one frame must be possible"),
    ],
)
def test_a_plan_of_another_model_is_not_deserialised(
    tensorrt: FakeLibrary, tmp_path: Path, changed: dict[str, Any], reason: str
) -> None:
    with pytest.raises(Refused, match=f"{reason}.*; build it again: {REBUILD}"):
        opened(tmp_path, tensorrt, edit=lambda sidecar: replace(sidecar, **changed))
    assert not tensorrt.log


def test_a_plan_that_was_exchanged_is_not_deserialised(
    tensorrt: FakeLibrary, gpu: FakeGpu, tmp_path: Path
) -> None:
    bundle = build(tmp_path / "bundle", tensorrt)
    path = bundle.root / "fp16.plan"
    data = bytearray(path.read_bytes())
    data[5] ^= 1
    path.write_bytes(data)
    with pytest.raises(Refused, match=r"fp16.plan is not the file that was built: sha256"):
        open_tensorrt(bundle, "fp16", "tensorrt")
    path.write_bytes(data[:40])
    with pytest.raises(Refused, match=r"it has 40 bytes, the manifest says"):
        open_tensorrt(bundle, "fp16", "tensorrt")
    assert not tensorrt.log


def test_a_plan_without_its_sidecar_is_refused(tensorrt: FakeLibrary, tmp_path: Path) -> None:
    bundle = build(tmp_path / "bundle", tensorrt)
    files = tuple(file for file in bundle.manifest.files if file.kind != "sidecar")
    alone = Bundle(bundle.root, replace(bundle.manifest, files=files))
    with pytest.raises(Refused, match=f"no sidecar.*build it again: {REBUILD}"):
        open_tensorrt(alone, "fp16", "tensorrt")


def test_a_sidecar_of_an_older_build_is_refused(tensorrt: FakeLibrary, tmp_path: Path) -> None:
    with pytest.raises(Refused, match=f"format 0.*build it again: {REBUILD}"):
        opened(tmp_path, tensorrt, edit=lambda sidecar: replace(sidecar, format=0))


def test_a_plan_that_was_not_built_names_the_command(tensorrt: FakeLibrary, tmp_path: Path) -> None:
    bundle = build(tmp_path / "bundle", tensorrt)
    with pytest.raises(
        UsageError, match=r"no int8 plan for tensorrt, only fp16 for tensorrt.*--int8"
    ):
        open_tensorrt(bundle, "int8", "tensorrt")


def test_a_plan_that_the_library_does_not_take(
    library: FakeLibrary, gpu: FakeGpu, tmp_path: Path
) -> None:
    library.broken = "deserialise"
    reason = f"does not take the plan: .*Version tag does not match.*{REBUILD}"
    with pytest.raises(Refused, match=reason):
        opened(tmp_path, library)
    assert_given_back(gpu)


def test_a_context_without_memory(library: FakeLibrary, gpu: FakeGpu, tmp_path: Path) -> None:
    library.broken = "context"
    with pytest.raises(DeviceMissing, match=r"takes 90 MB of the GPU's memory.*close what else"):
        opened(tmp_path, library)
    assert_given_back(gpu)


def test_a_run_that_fails_is_told(library: FakeLibrary, gpu: FakeGpu, tmp_path: Path) -> None:
    session = opened(tmp_path, library)
    library.broken = "enqueue"
    with pytest.raises(DeviceMissing, match=r"could not run the plan: .*CUDA error 700"):
        session.run(FRAMES[:2])
    session.close()
    assert_given_back(gpu)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (plan((1, 8), tensors={"images": ("INPUT", "UINT8")}), "tensors images"),
        (
            plan((1, 8), tensors={"frames": ("INPUT", "HALF"), "logits": ("OUTPUT", "FLOAT")}),
            "not frames in uint8",
        ),
        (plan((1, 4)), r"does not take frames \[8, 32, 48, 3\]: .*optimization profile"),
        (plan((1, 8), size=(64, 64)), r"does not take frames \[8, 32, 48, 3\]"),
        (plan((1, 8), logits=(3, 8, 12)), r"gives logits \[8, 3, 8, 12\], the model \[8, 2, 8, 12"),
    ],
)
def test_a_plan_that_is_not_what_its_sidecar_says(
    library: FakeLibrary, gpu: FakeGpu, tmp_path: Path, data: bytes, reason: str
) -> None:
    with pytest.raises(Refused, match=reason):
        opened(tmp_path, library, data=data)
    assert_given_back(gpu)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (
            lambda frame: network(255 - frame),
            r"0\.00% of the pixels have FP32's label, and 98\.90%",
        ),
        (lambda frame: network(np.roll(frame, 4, 0)), "% of the pixels"),
        (lambda frame: network(frame) * np.nan, "NaN"),
        (lambda frame: network(frame) / 0, "infinite"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*divide by zero|.*invalid value")
def test_an_engine_that_fails_its_self_test_is_not_handed_out(
    library: FakeLibrary, gpu: FakeGpu, tmp_path: Path, wrong: Any, reason: str
) -> None:
    library.network = wrong
    with pytest.raises(Refused, match=f"fails its self-test: .*{reason}.*{REBUILD}"):
        opened(tmp_path, library)
    assert_given_back(gpu)


def test_an_engine_without_golden_frames_is_not_handed_out(
    tensorrt: FakeLibrary, tmp_path: Path
) -> None:
    with pytest.raises(Refused, match="no golden frames"):
        opened(tmp_path, tensorrt, golden=0)


def test_a_library_that_is_not_installed(
    gpu: FakeGpu, tensorrt: FakeLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = build(tmp_path / "bundle", tensorrt)
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(DeviceMissing, match=r"tensorrt .*pip install"):
        open_tensorrt(bundle, "fp16", "tensorrt")


def test_a_library_that_the_driver_is_too_old_for(
    tensorrt: FakeLibrary, gpu: FakeGpu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bindings' words for CUDA error 35, as in NVIDIA/TensorRT#2913."""

    def fail(log: object) -> None:
        raise TypeError("pybind11::init(): factory function returned nullptr")

    bundle = build(tmp_path / "bundle", tensorrt)
    monkeypatch.setattr(sys.modules["tensorrt"], "Runtime", fail)
    with pytest.raises(DeviceMissing, match=r"tensorrt 10\.3\.0 does not start .*engines\.doctor"):
        open_tensorrt(bundle, "fp16", "tensorrt")
    assert_given_back(gpu)


def test_no_gpu(tensorrt: FakeLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = build(tmp_path / "bundle", tensorrt)
    for binding in ("pycuda", "cuda"):
        monkeypatch.setitem(sys.modules, binding, None)
    monkeypatch.setattr(plan_sidecar, "probe_gpu", lambda index: None)
    with pytest.raises(DeviceMissing, match="no NVIDIA GPU can be used here"):
        open_tensorrt(bundle, "fp16", "tensorrt")
    assert not tensorrt.log


def test_host_code_in_plans_is_never_allowed() -> None:
    """A version-compatible plan may carry code of the host; only that attribute would run it."""
    root = Path(__file__).parents[2]
    sources = [*root.glob("engines/*.py"), *root.glob("runtime/**/*.py"), *root.glob("crf/*.py")]
    assert len(sources) > 50
    assert not [path for path in sources if "engine_host_code_allowed" in path.read_text()]
