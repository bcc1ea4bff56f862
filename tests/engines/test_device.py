"""The device layer against small fakes of PyCUDA and cuda.core, which need a driver to import."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from engines.cuda_core_device import CudaCoreDevice
from engines.cuda_graph import CaptureFailed
from engines.device import THREADS, Device, Kernels, open_device
from engines.failures import DeviceLost, DeviceMissing, UsageError
from engines.kernels import KernelSource
from engines.pycuda_device import PyCudaDevice
from tests.engines.fake_bindings import install
from tests.engines.fake_gpu import FakeGpu, FakeLibcuda

SOURCE = KernelSource("fill.cu", 'extern "C" __global__ void fill(float*, int, float) {}')


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> FakeGpu:
    return install(monkeypatch)


@pytest.fixture(params=[PyCudaDevice, CudaCoreDevice], ids=["pycuda", "cuda-core"])
def device(request: pytest.FixtureRequest, gpu: FakeGpu) -> Iterator[Device]:
    opened: Device = request.param()
    yield opened
    assert gpu.depth == 0


def test_a_device_tells_what_it_is(device: Device) -> None:
    assert device.architecture == "sm_87"
    assert device.description.startswith("Orin (sm_87) through ")
    assert device.stream == 77


def test_what_goes_up_comes_down(device: Device, gpu: FakeGpu) -> None:
    buffer = device.allocate(64)
    assert buffer.size == 64
    numbers = np.arange(12, dtype=np.float32).reshape(3, 4)
    device.upload(numbers, buffer)
    result = np.empty((2, 4), np.float32)
    device.download(buffer, result)
    np.testing.assert_array_equal(result, numbers[:2])
    assert gpu.synchronised


def test_arguments_keep_their_types(device: Device, gpu: FakeGpu) -> None:
    """1 and 1.0 are equal in Python: the kernel must get an int32 and a float32."""
    kernels = Kernels(device, SOURCE)
    buffer = device.allocate(16)
    kernels("fill", 3 * THREADS + 1, buffer, 1, 1.0)
    kernels("fill", 1, buffer, 0, 0.5)
    assert gpu.launched == [
        (4, THREADS, "Pif", buffer.address, 1, 1.0),
        (1, THREADS, "Pif", buffer.address, 0, 0.5),
    ]
    with pytest.raises(OverflowError):
        kernels("fill", 1, buffer, 2**31, 0.0)


def test_buffers_are_given_back_once(device: Device, gpu: FakeGpu) -> None:
    first, _second = device.allocate(8), device.allocate(8)
    array, _other = device.pinned((4,), np.uint8), device.pinned((4,), np.uint8)
    device.free(first)
    device.free_pinned(array)
    assert len(gpu.memory) == len(gpu.pinned) == 1
    device.close()
    assert not gpu.memory
    assert not gpu.pinned
    assert gpu.closed


def test_too_large_a_buffer_is_told(device: Device) -> None:
    with pytest.raises(DeviceMissing, match="no 3 MB of memory left"):
        device.allocate(3 * 10**6)
    with pytest.raises(DeviceMissing, match="no 6 MB of memory left that may be page-locked"):
        device.pinned((1000, 1500), np.float32)


def test_code_that_the_driver_refuses_is_told(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    for adapter in ("engines.pycuda_device", "engines.cuda_core_device"):
        monkeypatch.setattr(f"{adapter}.cubin", lambda source, architecture: b"newer")
    with pytest.raises(DeviceMissing, match=r"does not load fill.cu .*image is invalid.*update"):
        Kernels(device, SOURCE)("fill", 1)


def test_events_tell_the_time_between_them(device: Device, gpu: FakeGpu) -> None:
    start = device.record()
    device.synchronise()
    end = device.record()
    end.synchronise()
    assert end.milliseconds_since(start) == 5.0


@pytest.mark.parametrize(
    ("broken", "reason"),
    [("begin", "begin a capture: error 1"), ("end", "capture: CUDA_ERROR_STREAM_CAPTURE_INVALID")],
)
def test_what_cannot_be_captured_is_told_and_leaves_a_stream_that_works(
    device: Device, gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch, broken: str, reason: str
) -> None:
    monkeypatch.setattr("engines.cuda_graph.open_driver", lambda: FakeLibcuda(gpu, broken))
    with pytest.raises(CaptureFailed, match=reason):
        device.capture(lambda: None)
    device.synchronise()
    assert not gpu.graphs


def test_work_that_raises_ends_the_capture(device: Device, gpu: FakeGpu) -> None:
    def work() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        device.capture(work)
    device.synchronise()
    assert not gpu.graphs


def test_a_graph_that_the_driver_does_not_launch_is_told(
    device: Device, gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engines.cuda_graph.open_driver", lambda: FakeLibcuda(gpu, "launch"))
    with pytest.raises(DeviceLost, match="error 700"):
        device.capture(lambda: None).launch()


@pytest.mark.parametrize("adapter", [PyCudaDevice, CudaCoreDevice])
def test_a_gpu_that_is_not_there_is_missing(gpu: FakeGpu, adapter: Any) -> None:
    with pytest.raises(DeviceMissing, match=r"cannot use GPU 1: .*(ordinal|device_id)"):
        adapter(1)


@pytest.mark.parametrize(
    ("adapter", "package", "module"),
    [(PyCudaDevice, "PyCUDA", "pycuda"), (CudaCoreDevice, r"cuda\.core", "cuda")],
)
def test_a_binding_that_is_not_installed_is_missing(
    monkeypatch: pytest.MonkeyPatch, adapter: Any, package: str, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(DeviceMissing, match=f"{package} does not import"):
        adapter()


def test_the_first_binding_that_works_is_opened(
    gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(open_device(), PyCudaDevice)
    assert isinstance(open_device("cuda-core"), CudaCoreDevice)
    monkeypatch.setitem(sys.modules, "pycuda", None)
    assert isinstance(open_device(), CudaCoreDevice)
    with pytest.raises(DeviceMissing, match="PyCUDA does not import"):
        open_device("pycuda")


def test_no_binding_works(gpu: FakeGpu) -> None:
    with pytest.raises(DeviceMissing, match=r"pycuda: .*ordinal.*cuda-core: .*pip install"):
        open_device(index=3)


def test_unknown_bindings_are_refused() -> None:
    with pytest.raises(UsageError, match="known: auto, pycuda, cuda-core"):
        open_device("cupy")
