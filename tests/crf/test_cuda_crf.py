"""The CUDA kernels, run on the host by the shim, against the oracle; and what must never depend on
the order of execution."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from crf.cuda_crf import CudaCrf
from crf.dense_crf import DenseCrf
from crf.numpy_crf import NumpyCrf
from engines.device import uploaded
from engines.failures import DeviceMissing, Refused, UsageError
from engines.spec import CrfParams
from scenes.camvid import CamVid
from tests.host_shim.host_device import HostDevice

Floats = NDArray[np.float32]
Case = tuple[NDArray[np.uint8], Floats]
Scenes = Callable[..., Case]
Devices = Callable[..., HostDevice]

V1 = CrfParams(4, 49, 5, 3, 3, iterations=2)  # the stock settings of DeepLab v1 and v2
V2 = CrfParams(4, 67, 3, 3, 1, iterations=2)
STOCK = CrfParams(10, 80, 13, 3, 3, iterations=5)


def expected(case: Case, params: CrfParams) -> Floats:
    """The oracle's marginals."""
    frame, logits = case
    oracle = NumpyCrf(frame.shape[:2], params)
    oracle.run(frame, logits, None)
    return oracle.marginals()


def assert_parity(case: Case, params: CrfParams, crf: CudaCrf) -> None:
    """Marginals within 2e-5 of the oracle's (seen: 5e-6), and the labels that they give."""
    assert crf.run(*case) == params.iterations
    ours, theirs = crf.marginals(), expected(case, params)
    assert ours.dtype == np.float32
    assert np.abs(ours - theirs).max() < 2e-5
    np.testing.assert_array_equal(crf.labels(), ours.argmax(axis=0))
    assert (crf.labels() == theirs.argmax(axis=0)).mean() >= 0.999


def build(case: Case, params: CrfParams, device: HostDevice) -> CudaCrf:
    frame, logits = case
    return CudaCrf(frame.shape[:2], len(logits), params, device)


@pytest.mark.parametrize("params", [V1, V2, STOCK], ids=["49/5", "67/3", "80/13"])
@pytest.mark.parametrize("kind", ["smooth", "textured", "dark", "noise", "constant"])
def test_equals_the_oracle(
    scene: Scenes, host_device: Devices, kind: str, params: CrfParams
) -> None:
    case = scene(kind, 27, 35)
    assert_parity(case, params, build(case, params, host_device()))


@pytest.mark.parametrize("classes", [1, 2, 21, 150])
@pytest.mark.parametrize("kind", ["textured", "constant"])
def test_any_number_of_classes(
    scene: Scenes, host_device: Devices, kind: str, classes: int
) -> None:
    """1, 1, 8 and 32 lanes a row, one or two packs a lane, padded; the others have 4 classes."""
    case = scene(kind, 15, 19, classes)
    assert_parity(case, V1, build(case, V1, host_device()))


@pytest.mark.slow
@pytest.mark.parametrize("classes", [3, 5, 8, 11, 19, 33, 128, 129, 254])
def test_many_numbers_of_classes(scene: Scenes, host_device: Devices, classes: int) -> None:
    case = scene("textured", 46, 61, classes)
    assert_parity(case, V2, build(case, V2, host_device()))


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (33, 1), (16, 16)], ids=str)
def test_any_size(scene: Scenes, host_device: Devices, size: tuple[int, int]) -> None:
    case = scene("textured", *size)
    assert_parity(case, V1, build(case, V1, host_device()))


@pytest.mark.parametrize("source", [(8, 12), (30, 1), (29, 46)], ids=str)
def test_smaller_logits_are_upsampled(
    scene: Scenes, host_device: Devices, source: tuple[int, int]
) -> None:
    frame, _ = scene("textured", 30, 47)
    _, logits = scene("textured", *source)
    case = (frame, np.ascontiguousarray(logits[:, : source[0], : source[1]]))
    assert_parity(case, V1, build(case, V1, host_device()))


def test_logits_of_changing_size(scene: Scenes, host_device: Devices) -> None:
    frame, full = scene("textured", 30, 47)
    _, quarter = scene("textured", 8, 12)
    crf = build((frame, full), V1, host_device())
    for logits in (quarter, full, quarter):
        assert_parity((frame, logits), V1, crf)


@pytest.mark.parametrize("temperature", [0.05, 3.0])
def test_temperature_and_excluded_classes(
    scene: Scenes, host_device: Devices, temperature: float
) -> None:
    frame, logits = scene("textured", 24, 36)
    logits[3, :10] = -np.inf
    logits[:2, 12:14] = -3e38
    params = replace(V1, temperature=temperature)
    assert_parity((frame, logits), params, build((frame, logits), params, host_device()))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_logits_that_are_no_numbers_are_refused(
    scene: Scenes, host_device: Devices, bad: float
) -> None:
    frame, logits = scene("textured", 9, 12)
    crf = build((frame, logits), V1, host_device())
    broken = logits.copy()
    broken[2, 4, 5] = bad
    with pytest.raises(Refused, match="NaN or infinity"):
        crf.run(frame, broken)
    assert_parity((frame, logits), V1, crf)


def test_a_pixel_that_excludes_every_class_is_refused(scene: Scenes, host_device: Devices) -> None:
    frame, logits = scene("textured", 9, 12)
    logits[:, 3, 3] = -np.inf
    with pytest.raises(Refused, match="NaN or infinity"):
        build((frame, logits), V1, host_device()).run(frame, logits)


@pytest.mark.parametrize(
    "params",
    [
        replace(V1, w1=0),
        replace(V1, w2=0),
        replace(V1, w1=0, w2=0),
        replace(V1, iterations=0),
        replace(V1, sigma_alpha=1e5, sigma_beta=1e5, sigma_gamma=1e5),  # 6 vertices take all
        replace(V1, sigma_alpha=0.7, sigma_beta=1, sigma_gamma=0.5),
        replace(V1, w1=-2, w2=40),
        replace(V1, w1=1e9, sigma_alpha=1e9, sigma_beta=1e9, temperature=1e-9),
    ],
    ids=["no w1", "no w2", "no weight", "no update", "wide", "narrow", "odd weights", "extreme"],
)
def test_any_parameters(scene: Scenes, host_device: Devices, params: CrfParams) -> None:
    case = scene("textured", 30, 41)
    assert_parity(case, params, build(case, params, host_device()))


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize(("index", "params"), [(0, V1), (50, V2), (100, STOCK)])
def test_equals_the_oracle_on_real_frames(
    deeplab_data: Path, host_device: Devices, index: int, params: CrfParams
) -> None:
    """480x360 with stride-8 logits: what a coarse network would say of the frame, and noise."""
    frames = CamVid(str(deeplab_data / "camvid"), "val")
    picked = frames[index]
    one_hot = picked.labels == np.arange(len(frames.classes))[:, None, None]
    coarse = one_hot.reshape(-1, 45, 8, 60, 8).mean(axis=(2, 4))
    noise = np.random.default_rng(index).normal(0, 0.7, coarse.shape)
    case = (picked.frame.copy(), (np.log(coarse + 0.02) + noise).astype(np.float32))
    assert_parity(case, params, build(case, params, host_device()))


def test_results_do_not_depend_on_the_order_of_execution(
    scene: Scenes, host_device: Devices
) -> None:
    """Threads, blocks and atomics in three orders: other vertex numbers, the same bits."""
    for kind in ("textured", "constant"):
        case = scene(kind, 30, 40, 21)
        crfs = [build(case, V1, host_device(seed)) for seed in range(3)]
        for crf in crfs:
            crf.run(*case)
        for other in crfs[1:]:
            np.testing.assert_array_equal(other.marginals(), crfs[0].marginals())


def test_a_frame_with_too_many_vertices_is_redone_with_more_room(
    scene: Scenes, host_device: Devices
) -> None:
    """Noise needs almost 6 vertices a pixel; there is room for 1/4 at first, and for good later."""
    shim = host_device()
    smooth, noise = scene("smooth", 25, 33), scene("noise", 25, 33)
    crf = build(smooth, V2, shim)
    assert_parity(smooth, V2, crf)
    before = shim.launches.count("embed_colours")
    assert_parity(noise, V2, crf)
    after = shim.launches.count("embed_colours")
    assert after >= before + 3  # at least from 1 1/2 to 6 a pixel
    for case in (smooth, noise):
        assert_parity(case, V2, crf)
    assert shim.launches.count("embed_colours") == after + 2


def test_no_memory_is_allocated_per_frame(scene: Scenes, host_device: Devices) -> None:
    shim = host_device()
    case = scene("textured", 20, 30)
    crf = build(case, V1, shim)
    crf.run(*case)
    allocations = shim.allocations
    crf.run(*case)
    assert shim.allocations == allocations


def test_what_is_on_the_device_stays_there(scene: Scenes, host_device: Devices) -> None:
    """Frame, logits and labels are the caller's buffers; only counts cross the bus."""
    device = host_device()
    frame, full = scene("textured", 20, 30)
    _, logits = scene("textured", 5, 8)
    crf = build((frame, full), V1, device)
    crf.run(frame, logits)
    expected = crf.labels()
    buffers = uploaded(device, frame), uploaded(device, logits)
    labels = device.allocate(600)
    ups, downs = len(device.uploads), len(device.downloads)
    assert crf.run_on_device(*buffers, (5, 8), labels) == V1.iterations
    assert not device.uploads[ups:]
    assert sum(device.downloads[downs:]) == 16 + 4  # the lattice's counters; whether to refuse
    for buffer, content in zip((*buffers, labels), (frame, logits, expected), strict=True):
        there = np.empty_like(content)
        device.download(buffer, there)
        np.testing.assert_array_equal(there, content)


def test_a_budget_ends_the_iterations(scene: Scenes, host_device: Devices) -> None:
    case = scene("textured", 20, 30)
    crf = build(case, STOCK, host_device())
    assert crf.run(*case, budget_ms=0) == 1
    np.testing.assert_allclose(
        crf.marginals(), expected(case, replace(STOCK, iterations=1)), atol=2e-5
    )
    np.testing.assert_array_equal(crf.labels(), crf.marginals().argmax(axis=0))
    assert crf.run(*case, budget_ms=1e6) == STOCK.iterations
    np.testing.assert_allclose(crf.marginals(), expected(case, STOCK), atol=2e-5)


@pytest.mark.parametrize(
    ("params", "cause"),
    [
        (replace(V1, sigma_gamma=1e-4), "32768 lattice steps"),
        (replace(V1, sigma_beta=0.01), "32768 lattice steps"),
        (replace(V1, sigma_alpha=0.012, sigma_beta=0.5), "63 bits"),
        (replace(V1, sigma_alpha=1e-9), "32768 lattice steps"),
    ],
)
def test_sigmas_too_small_for_a_lattice_are_refused(
    host_device: Devices, params: CrfParams, cause: str
) -> None:
    with pytest.raises(UsageError, match=f"{cause}.*raise sigma_alpha"):
        CudaCrf((40, 60), 3, params, host_device())


def test_without_a_gpu_the_reason_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(index: int) -> HostDevice:
        raise DeviceMissing("no such thing here")

    monkeypatch.setattr("engines.device.BINDINGS", {"pycuda": missing})
    with pytest.raises(DeviceMissing, match=r"pycuda: no such thing here.*pip install"):
        CudaCrf((4, 4), 2, V1)


def test_a_real_device_is_closed_with_the_crf(
    monkeypatch: pytest.MonkeyPatch, host_device: Devices
) -> None:
    closed = []
    shim = host_device()
    monkeypatch.setattr(shim, "close", lambda: closed.append(True))
    CudaCrf((4, 4), 2, V1, shim).close()
    assert not closed  # not its own
    monkeypatch.setattr("crf.cuda_crf.open_device", lambda: shim)
    with DenseCrf((4, 4), 2, V1, "cuda"):
        assert not closed
    assert closed
