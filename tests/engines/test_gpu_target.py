"""What `--target auto` finds on a GPU."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from engines import plan_sidecar
from engines.bundle import Bundle
from engines.failures import DeviceMissing, Refused
from engines.gpu_facts import GpuFacts
from engines.gpu_target import choose_gpu_target
from engines.plan_sidecar import PORTABLE, PlanSidecar
from engines.session import choose_target, open_session
from tests.engines.fake_gpu import FakeGpu
from tests.engines.fake_tensorrt import FakeLibrary
from tests.engines.plan_bundles import (
    build,
    target_of,
)

GONE = r"Thor has 11\.0|not for Thor"


def test_auto_is_the_gpu_whose_plan_fits(
    library: FakeLibrary, gpu: FakeGpu, tmp_path: Path
) -> None:
    bundle = build(tmp_path / "bundle", library)
    for precision in ("auto", "fp16"):
        target, why = choose_gpu_target(bundle, precision)
        assert target == target_of(library)
        assert why == f"{target}: the bundle has a plan for Orin (sm_87) through PyCUDA"
    assert gpu.closed
    assert not library.log


def test_auto_is_no_gpu_where_the_plan_does_not_fit(
    tensorrt: FakeLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = build(tmp_path / "bundle", tensorrt)
    assert choose_gpu_target(bundle, "int8")[0] is None
    monkeypatch.setattr(plan_sidecar, "probe_gpu", lambda index: GpuFacts("Thor", "11.0", "13.0"))
    target, why = choose_gpu_target(bundle)
    assert target is None
    assert "no tensorrt (" in why
    assert "Thor has 11.0" in why
    assert "python export/build_engine.py" in why


def test_a_gpu_that_the_library_is_not_for(
    rtx: FakeLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorRT for RTX leaves Hopper out, though its plans are for 8.0 and later."""

    def portable(sidecar: PlanSidecar) -> PlanSidecar:
        return replace(sidecar, compute_capabilities=(PORTABLE,))

    bundle = build(tmp_path / "bundle", rtx, edit=portable)
    assert choose_gpu_target(bundle)[0] == "tensorrt-rtx"
    monkeypatch.setattr(plan_sidecar, "probe_gpu", lambda index: GpuFacts("H100", "9.0", "12.6"))
    target, why = choose_gpu_target(bundle)
    assert target is None
    assert "is not for H100 (compute capability 9.0): use --target tensorrt" in why
    with pytest.raises(DeviceMissing, match="not for H100"):
        open_session(bundle, "fp16", "tensorrt-rtx")


def test_auto_is_no_gpu_where_none_is(
    library: FakeLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = build(tmp_path / "bundle", library)
    monkeypatch.setattr(plan_sidecar, "probe_gpu", lambda index: None)
    assert choose_gpu_target(bundle) == (None, f"no {target_of(library)} (no NVIDIA GPU here)")


def test_auto_is_no_gpu_where_no_plan_is(tensorrt: FakeLibrary, tmp_path: Path) -> None:
    bundle = build(tmp_path / "bundle", tensorrt)
    files = tuple(file for file in bundle.manifest.files if file.kind != "plan")
    without = Bundle(bundle.root, replace(bundle.manifest, files=files))
    assert choose_gpu_target(without) == (None, "the bundle has no plan for a GPU")


def test_auto_runs_what_it_found_and_tells_why(
    library: FakeLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = build(tmp_path / "bundle", library)
    assert choose_target(bundle, "auto", "auto")[0] == target_of(library)
    with open_session(bundle, "fp16", "auto") as session:
        assert session.target == target_of(library)
    monkeypatch.setattr(plan_sidecar, "probe_gpu", lambda index: GpuFacts("Thor", "11.0", "13.0"))
    target, why = choose_target(bundle, "auto", "auto")
    assert target == "cpu"
    assert re.search(GONE, why)
    with pytest.raises((Refused, DeviceMissing), match=GONE):
        open_session(bundle, "fp16", target_of(library))  # asked for by name: no other target


def test_auto_takes_the_precision_that_there_is_a_plan_in(
    tensorrt: FakeLibrary, tmp_path: Path
) -> None:
    bundle = build(tmp_path / "bundle", tensorrt)
    int8 = Bundle(bundle.root, replace(bundle.manifest, precision="int8"))
    assert int8.choose_precision("tensorrt")[0] == "fp16"
    assert int8.choose_precision("cpu")[0] == "int8"
    assert choose_gpu_target(int8)[0] == "tensorrt"
