"""The timing cache: one file per GPU and version, shared by builds, whole at every moment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engines.failures import Refused, UsageError
from engines.gpu_facts import GpuFacts
from export.plans import cache
from export.plans.builder import build_plan
from export.plans.cache import keyed
from export.plans.library import load_library
from export.plans.settings import BuildSettings
from tests.export.fake_tensorrt import FakeTensorRt


@pytest.fixture
def orin(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU to time on."""
    monkeypatch.setattr(cache, "probe_gpu", lambda: GpuFacts("Orin (nvgpu)", "8.7", "12.6"))


@pytest.mark.usefixtures("orin")
def test_the_file_is_named_after_library_version_and_gpu(tmp_path: Path) -> None:
    file = keyed(tmp_path / "my timings.cache", "tensorrt", "10.3.0")
    assert file == tmp_path / "my timings.tensorrt-10.3.0-orin-nvgpu-8.7.cache"


@pytest.mark.usefixtures("orin")
def test_what_a_build_found_is_there_for_the_next_one_and_what_another_stored_stays(
    tmp_path: Path,
) -> None:
    settings = BuildSettings("fp16", timing_cache=tmp_path / "deep" / "t.cache")
    trt: Any = FakeTensorRt()
    build_plan(trt, b"graph", settings, quiet=True)
    (file,) = (tmp_path / "deep").glob("t.*.cache")
    assert file.read_bytes() == b"tactic1"
    file.write_bytes(b"of-another-process")
    build_plan(trt, b"graph", settings, quiet=True)
    assert file.read_bytes() == b"of-another-process\ntactic2"


@pytest.mark.usefixtures("orin")
def test_what_is_stored_while_a_build_runs_is_not_lost(tmp_path: Path) -> None:
    path = tmp_path / "t.cache"
    trt: Any = FakeTensorRt()
    config = trt.Builder(None).create_builder_config()
    with cache.saved_timings(trt, config, path):
        keyed(path, "tensorrt", "10.3.0").write_bytes(b"meanwhile")
        config.timings.lines.add(b"mine")
    assert keyed(path, "tensorrt", "10.3.0").read_bytes() == b"meanwhile\nmine"


@pytest.mark.usefixtures("orin")
@pytest.mark.parametrize("content", [b"broken", b"of-another-gpu"])
def test_what_the_library_does_not_take_is_refused_and_stays(
    tmp_path: Path, content: bytes
) -> None:
    file = keyed(tmp_path / "t.cache", "tensorrt", "10.3.0")
    file.write_bytes(content)
    trt: Any = FakeTensorRt()
    settings = BuildSettings("fp16", timing_cache=tmp_path / "t.cache")
    with pytest.raises(Refused, match="no timings of this GPU"):
        build_plan(trt, b"graph", settings, quiet=True)
    assert file.read_bytes() == content


@pytest.mark.tensorrt
def test_rtx_has_none_and_says_so(tmp_path: Path) -> None:
    settings = BuildSettings("fp16", timing_cache=tmp_path / "t.cache")
    with pytest.raises(UsageError, match=r"--timing-cache: tensorrt_rtx .*runtime cache"):
        build_plan(load_library("tensorrt-rtx"), b"", settings)
    assert list(tmp_path.iterdir()) == []
