"""A GPU that fails in the middle of a run: one sentence, exit code 4, and nothing hangs on it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Generator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines.device import open_device
from engines.failures import DeviceLost, DeviceMissing
from engines.guarded_device import guarded
from runtime.gpu_path import GpuPath
from runtime.lane import Lane
from runtime.pipeline import Stream
from runtime.source import Frame
from runtime.sources.status import ALWAYS_LIVE
from tests.engines.fake_gpu import FakeGpu
from tests.engines.fake_tensorrt import FakeLibrary
from tests.engines.plan_bundles import FRAMES, network, opened

REASON = "cuStreamSynchronize failed: an illegal memory access was encountered"
FRAME = Frame(FRAMES[0], 0, 0.0, 0.0)


class Broken:
    """Makes every call to the fake GPU fail, as a real one does after an illegal access."""

    def __init__(self, gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch) -> None:
        error = sys.modules["pycuda.driver"].Error
        monkeypatch.setattr(error, "__module__", "pycuda._driver")
        self._gpu, self._error = gpu, error

    def __call__(self) -> None:
        def fail(*_: Any) -> None:
            raise self._error(REASON)

        self._gpu.queue.clear()
        for name in ("submit", "synchronise", "allocate", "release", "pin", "unpin"):
            setattr(self._gpu, name, fail)


@pytest.fixture
def break_gpu(gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch) -> Broken:
    return Broken(gpu, monkeypatch)


def test_a_session_says_what_happened_and_closes_in_peace(
    library: FakeLibrary, tmp_path: Path, break_gpu: Broken
) -> None:
    with opened(tmp_path, library) as session:
        np.testing.assert_array_equal(session.run(FRAMES[:1])[0], network(FRAMES[0]))
        break_gpu()
        for _ in range(2):
            with pytest.raises(DeviceLost) as error:
                session.run(FRAMES[:1])
            assert REASON in str(error.value)
            assert "start it again" in str(error.value)
            assert error.value.exit_code == 4
    with pytest.raises(RuntimeError, match="closed"):
        session.run(FRAMES[:1])


def test_the_gpu_way_of_a_stream_ends_with_that_failure_alone(
    tensorrt: FakeLibrary, tmp_path: Path, break_gpu: Broken
) -> None:
    """As in `runtime.stream`: path and session are closed while the failure passes."""
    with (
        pytest.raises(DeviceLost, match="illegal memory access"),
        opened(tmp_path, tensorrt) as session,
        GpuPath(session) as path,
    ):
        break_gpu()
        path.infer(path.prepare(FRAME))


class BreakingCamera:
    """A camera whose third frame finds the GPU broken."""

    name, live, fps, damaged, status = "camera", False, 25.0, 0, ALWAYS_LIVE

    def __init__(self, break_gpu: Broken) -> None:
        self._break = break_gpu
        self.taken = threading.Semaphore(0)  # results that the test has

    def __iter__(self) -> Generator[Frame, None, None]:
        for index in range(2):
            yield Frame(FRAMES[index], index, index / 25, index / 25)
            self.taken.acquire()
        self._break()
        for index in range(2, 9):
            yield Frame(FRAMES[index], index, index / 25, index / 25)

    def close(self) -> None:
        self.taken.release(9)


@pytest.mark.parametrize("cameras", [1, 2])
def test_a_stream_ends_with_it_after_the_results_before(
    tensorrt: FakeLibrary, tmp_path: Path, break_gpu: Broken, cameras: int
) -> None:
    results = 0
    with opened(tmp_path, tensorrt) as session, ExitStack() as stack:
        sources = [BreakingCamera(break_gpu) for _ in range(cameras)]
        paths = [stack.enter_context(GpuPath(session)) for _ in sources]
        lanes = [Lane(source, path) for source, path in zip(sources, paths, strict=True)]
        with pytest.raises(DeviceLost, match="illegal memory access"), Stream(lanes) as stream:
            for result in stream:
                results += 1
                sources[result.camera].taken.release()
    assert cameras <= results <= 2 * cameras


def test_other_exceptions_are_no_loss(gpu: FakeGpu) -> None:
    device = guarded(open_device())
    with pytest.raises(DeviceMissing, match="no 3 MB of memory left") as error:
        device.allocate(3_000_000)
    assert not isinstance(error.value, DeviceLost)
    with pytest.raises(KeyError):
        device.free(device.allocate(8).__class__(1, 2))  # a bug of ours
    buffer = device.allocate(8)
    device.upload(np.arange(8, dtype=np.uint8), buffer)
    result = np.empty(8, np.uint8)
    device.download(buffer, result)
    np.testing.assert_array_equal(result, np.arange(8))
    assert device.description.startswith("Orin")
    device.close()
    assert gpu.closed


def test_the_service_starts_a_stream_again_that_lost_its_gpu() -> None:
    unit = Path(__file__).parents[2] / "deploy" / "deeplab-stream.service"
    lines = unit.read_text().splitlines()
    assert "Restart=on-failure" in lines  # any exit code but 0
    assert not [line for line in lines if line.startswith("RestartPreventExitStatus")]
