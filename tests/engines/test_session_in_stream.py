"""A GPU session in the stream's GPU path: kernels on the host, the plan over a fake of RTX."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from engines.tensorrt_session import open_tensorrt
from runtime.cpu_path import CpuPath
from runtime.gpu_path import DeviceSession, GpuPath
from runtime.source import Frame
from tests.engines.fake_gpu import FakeGpu, Work
from tests.engines.fake_tensorrt import FakeLibrary
from tests.engines.plan_bundles import build, use
from tests.host_shim.host_device import HostDevice


class HostGpu(FakeGpu):
    """The memory of a `HostDevice`, which is the host's and does everything at once."""

    stream = HostDevice.stream

    def submit(self, work: Work) -> None:
        work()

    def must_be_current(self) -> None:
        """The host always is."""

    def write(self, address: int, data: bytes) -> None:
        ctypes.memmove(address, data, len(data))

    def read(self, address: int, size: int) -> bytes:
        return ctypes.string_at(address, size)


@pytest.mark.usefixtures("gpu")
def test_labels_on_the_gpus_way_are_those_of_the_cpus(
    host_device: Callable[..., HostDevice], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library: FakeLibrary = use("rtx", HostGpu(), monkeypatch)
    device = host_device()
    bundle = build(tmp_path / "bundle", library)
    image = (
        np.random.default_rng(3).integers(0, 256, (10, 14, 3), np.uint8).repeat(6, 0).repeat(7, 1)
    )
    with open_tensorrt(bundle, "fp16", "tensorrt-rtx", device) as session:
        assert isinstance(session, DeviceSession)
        cpu = CpuPath(session)
        with GpuPath(session) as path:
            for index in range(3):
                frame = Frame(np.ascontiguousarray(image[index:]), index, index / 25, index / 25)
                ours = path.label(frame, path.infer(path.prepare(frame)))
                theirs = cpu.label(frame, cpu.infer(cpu.prepare(frame)))
                np.testing.assert_array_equal(ours, theirs)
                assert 0 < ours.mean() < 1
    device.close()
    assert device.held == 0
