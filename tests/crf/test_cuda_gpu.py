"""The CUDA kernels on a real GPU: parity with the oracle, the same bits on every run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from crf.cuda_crf import CudaCrf
from crf.numpy_crf import NumpyCrf
from engines.device import BINDINGS, THREADS, Device, Kernels, open_device
from engines.failures import DeviceMissing
from engines.kernels import KernelSource
from engines.spec import CrfParams

pytestmark = pytest.mark.gpu

Floats = NDArray[np.float32]
Case = tuple[NDArray[np.uint8], Floats]

SETTINGS = {
    "80/13": CrfParams(10, 80, 13, 3, 3, iterations=5),
    "49/5": CrfParams(4, 49, 5, 3, 3, iterations=5),
    "67/3": CrfParams(4, 67, 3, 3, 1, iterations=10),
}
every_setting = pytest.mark.parametrize("params", SETTINGS.values(), ids=SETTINGS.keys())


@pytest.mark.parametrize("binding", BINDINGS)
def test_each_binding_that_is_installed_works(binding: str) -> None:
    """Memory, copies, a kernel, events; one that is not installed is told, not passed over."""
    try:
        device = open_device(binding)
    except DeviceMissing as error:
        pytest.skip(str(error))
    text = (
        'extern "C" __global__ void scale(float* x, int count, float factor) {'
        " int i = blockIdx.x * blockDim.x + threadIdx.x; if (i < count) x[i] *= factor; }"
    )
    numbers = np.arange(3 * THREADS + 5, dtype=np.float32)
    buffer = device.allocate(numbers.nbytes)
    device.upload(numbers, buffer)
    start = device.record()
    Kernels(device, KernelSource("scale.cu", text))("scale", len(numbers), buffer, 700, 0.5)
    end = device.record()
    end.synchronise()
    assert end.milliseconds_since(start) > 0
    result = np.empty_like(numbers)
    device.download(buffer, result)
    np.testing.assert_array_equal(result, np.where(np.arange(len(numbers)) < 700, 0.5, 1) * numbers)
    device.close()


def assert_parity(gpu: Device, case: Case, params: CrfParams) -> None:
    """Labels equal on 99.9 %, marginals within 1e-3, and bit for bit the same on a second run."""
    frame, logits = case
    crf, oracle = (
        CudaCrf(frame.shape[:2], len(logits), params, gpu),
        NumpyCrf(frame.shape[:2], params),
    )
    assert crf.run(frame, logits) == params.iterations
    ours, labels = crf.marginals(), crf.labels()
    oracle.run(frame, logits, None)
    theirs = oracle.marginals()
    assert np.abs(ours - theirs).max() < 1e-3
    assert (labels == theirs.argmax(axis=0)).mean() >= 0.999
    np.testing.assert_array_equal(labels, ours.argmax(axis=0))
    crf.run(frame, logits)
    np.testing.assert_array_equal(crf.marginals(), ours)


@every_setting
@pytest.mark.parametrize("kind", ["smooth", "textured", "dark", "noise", "constant"])
def test_equals_the_oracle(
    real_gpu: Device, scene: Callable[..., Case], kind: str, params: CrfParams
) -> None:
    assert_parity(real_gpu, scene(kind, 360, 480), params)


@pytest.mark.parametrize("classes", [1, 2, 3, 11, 21, 150, 254])
def test_any_number_of_classes(real_gpu: Device, scene: Callable[..., Case], classes: int) -> None:
    assert_parity(real_gpu, scene("textured", 121, 163, classes), SETTINGS["49/5"])


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (301, 1), (720, 1280)], ids=str)
def test_any_size(real_gpu: Device, scene: Callable[..., Case], size: tuple[int, int]) -> None:
    assert_parity(real_gpu, scene("textured", *size), replace(SETTINGS["49/5"], iterations=2))


@every_setting
def test_many_runs_give_the_same_bits(
    real_gpu: Device, scene: Callable[..., Case], params: CrfParams
) -> None:
    """Full contention (one colour) and none (noise), interleaved, on one CRF and on a fresh one."""
    cases = [scene(kind, 240, 320, 21) for kind in ("constant", "noise", "textured")]
    first = CudaCrf((240, 320), 21, params, real_gpu)
    expected = []
    for case in cases:
        first.run(*case)
        expected.append(first.marginals())
    for crf in (first, CudaCrf((240, 320), 21, params, real_gpu)):
        for _ in range(5):
            for case, marginals in zip(cases, expected, strict=True):
                crf.run(*case)
                np.testing.assert_array_equal(crf.marginals(), marginals)
