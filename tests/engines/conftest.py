"""A fake machine with a GPU, and each TensorRT that may be installed on it."""

from __future__ import annotations

from pathlib import Path

import pytest

from engines import plan_sidecar
from engines.gpu_facts import GpuFacts
from tests.engines.fake_bindings import install
from tests.engines.fake_gpu import FakeGpu
from tests.engines.fake_tensorrt import VERSIONS, FakeLibrary
from tests.engines.plan_bundles import use


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeGpu:
    """A machine with a GPU, both bindings, and its own cache folder."""
    monkeypatch.setattr(plan_sidecar, "probe_gpu", lambda index: GpuFacts("Orin", "8.7", "12.6"))
    monkeypatch.setattr(plan_sidecar, "driver_version", lambda: "540.4.0")
    monkeypatch.setattr(plan_sidecar, "power_mode", lambda: "MAXN")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return install(monkeypatch)


@pytest.fixture(params=VERSIONS)
def library(
    request: pytest.FixtureRequest, gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch
) -> FakeLibrary:
    """Every flavour in turn, installed."""
    return use(request.param, gpu, monkeypatch)


@pytest.fixture
def tensorrt(gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch) -> FakeLibrary:
    return use("10.3", gpu, monkeypatch)


@pytest.fixture
def rtx(gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch) -> FakeLibrary:
    return use("rtx", gpu, monkeypatch)
