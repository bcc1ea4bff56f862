"""What TensorRT for RTX compiled is kept, and trusted no more than a bundle."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engines import plan_sidecar, runtime_cache
from engines.failures import Refused
from tests.engines.fake_gpu import FakeGpu
from tests.engines.fake_tensorrt import FakeLibrary, plan
from tests.engines.plan_bundles import FRAMES, assert_given_back, opened


def caches(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "cache" / "deeplab-edge" / "runtime").glob("*"))


def test_rtx_keeps_what_it_compiled(rtx: FakeLibrary, tmp_path: Path) -> None:
    session = opened(tmp_path, rtx)
    (path,) = caches(tmp_path)  # after the self-test, the first inference
    assert path.read_bytes() == b"[1]"
    session.run(FRAMES[:3])
    session.close()
    assert path.read_bytes() == b"[1, 3]"
    opened(tmp_path, rtx).close()
    assert rtx.caches == [b"[1, 3]"]
    assert caches(tmp_path) == [path]


def test_another_plan_or_driver_has_another_cache(
    rtx: FakeLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(tmp_path, rtx).close()
    monkeypatch.setattr(plan_sidecar, "driver_version", lambda: "550.0.0")
    opened(tmp_path, rtx).close()
    opened(tmp_path, rtx, data=plan((1, 8)) + b" ").close()
    assert len(caches(tmp_path)) == 3


def test_a_damaged_cache_is_replaced(rtx: FakeLibrary, tmp_path: Path) -> None:
    opened(tmp_path, rtx).close()
    (path,) = caches(tmp_path)
    path.write_bytes(b"[1")
    opened(tmp_path, rtx).close()
    assert path.read_bytes() == b"[1]"


@pytest.mark.skipif(os.name != "posix", reason="Windows has no permission bits")
def test_a_cache_that_others_can_write_is_refused(rtx: FakeLibrary, tmp_path: Path) -> None:
    opened(tmp_path, rtx).close()
    (path,) = caches(tmp_path)
    path.chmod(0o666)
    with pytest.raises(Refused, match=r"every user.*chmod"):
        opened(tmp_path, rtx)
    assert rtx.caches == []


def test_a_cache_that_cannot_be_kept_leaves_nothing_on_the_gpu(
    rtx: FakeLibrary, gpu: FakeGpu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = opened(tmp_path, rtx)
    session.run(FRAMES[:3])

    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(runtime_cache, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        session.close()
    assert rtx.log[-3:] == ["context freed", "engine freed", "runtime freed"]
    assert_given_back(gpu)
    assert gpu.closed


def test_tensorrt_keeps_nothing(tensorrt: FakeLibrary, tmp_path: Path) -> None:
    opened(tmp_path, tensorrt).close()
    assert not caches(tmp_path)
