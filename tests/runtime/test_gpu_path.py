"""The GPU's way of a frame from end to end: its kernels run on the host, or on a GPU, and must give
what the CPU's way gives; and what crosses the bus is counted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from crf.temporal import TemporalEvidence
from engines.bundle import Bundle
from engines.device import Buffer, Device
from engines.failures import Refused, UsageError
from engines.preprocess import fit_frame
from engines.session import open_session
from engines.spec import CrfParams
from runtime import stream
from runtime.cpu_path import CpuPath
from runtime.gpu_batch import GpuBatch
from runtime.gpu_path import DeviceSession, GpuPath
from runtime.lane import Lane
from runtime.options import Options
from runtime.overlay import Overlay
from runtime.pipeline import Stream, one_camera
from runtime.refiner import CrfRefiner
from runtime.source import Frame, FrameSource, Image
from tests.host_shim.host_device import HostDevice

# The fake's logits are grey levels: so warm, the CRF changes something.
WARM = CrfParams(4, 40, 20, 3, 1, iterations=2, temperature=20)
SIZES = [(48, 64), (36, 60), (49, 129), (17, 23)]  # the model's own, even, odd, small


class ResidentSession:
    """A session whose frames and logits are on a device, while a CPU's session is its engine."""

    target, description = "tensorrt", "a session behind a device"

    def __init__(self, session: Any, device: Device, most_frames: int = 1) -> None:
        self.spec, self.device, self._session = session.spec, device, session
        self.precision, self.run, self.most_frames = session.precision, session.run, most_frames
        self.counts: list[int] = []  # frames of each run
        classes, (height, width) = len(self.spec.classes), self.spec.logits_size
        self._logits = np.empty((most_frames, classes, height, width), np.float32)
        self.output = device.allocate(self._logits.nbytes)
        self.down, self.up = 3 * 48 * 64, self._logits.nbytes  # what its own copies move

    def close(self) -> None:
        self._session.close()

    def __enter__(self) -> ResidentSession:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def run_on_device(self, frames: Buffer, count: int = 1) -> Buffer:
        self.counts.append(count)
        image = np.empty((count, *self.spec.input_size, 3), np.uint8)
        self.device.download(frames, image)
        self._logits[:count] = self.run(image)
        self.device.upload(self._logits, self.output)
        return self.output


@pytest.fixture
def resident(session: Any, device: Device) -> ResidentSession:
    return ResidentSession(session, device)


def moving(size: tuple[int, int], count: int = 3) -> Iterator[Frame]:
    """A texture of dark, middle and bright patches that drifts, with noise; the last is a cut."""
    rng = np.random.default_rng(size[0])
    patches = rng.integers(0, 256, (40, 40, 3)).repeat(7, axis=0).repeat(7, axis=1)
    for index in range(count):
        at = 2 * index if index < count - 1 else 90
        cut = patches[at : at + size[0], at : at + size[1]]
        noisy = np.clip(cut + rng.integers(-9, 10, cut.shape), 0, 255)
        image = np.ascontiguousarray(noisy, np.uint8)
        yield Frame(image, index, time.monotonic(), index / 25)


def overlay(spec: Any) -> Overlay:
    return Overlay(spec, "title", 0.4)


def ends(path: Any, frame: Frame) -> tuple[NDArray[np.uint8], Image | None]:
    """Labels and picture of a frame, its steps one after the other."""
    inferred = path.infer(path.prepare(frame))
    labels = path.label(frame, inferred)
    return labels, path.draw(frame, inferred, labels, 25.0, 0.04)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("temporal", [False, True], ids=["still", "temporal"])
@pytest.mark.parametrize("drawn", [False, True], ids=["labels", "drawn"])
def test_labels_and_pictures_are_the_cpus(
    session: Any, resident: ResidentSession, size: tuple[int, int], temporal: bool, drawn: bool
) -> None:
    drawer = overlay(session.spec) if drawn else None
    cpu = CpuPath(session, TemporalEvidence() if temporal else None, None, drawer)
    with GpuPath(resident, temporal, None, drawer) as gpu:
        for frame in moving(size):
            (ours, picture), (theirs, expected) = ends(gpu, frame), ends(cpu, frame)
            np.testing.assert_array_equal(ours, theirs)
            assert (picture is None) == (not drawn)
            np.testing.assert_array_equal(picture, expected)


@pytest.mark.parametrize("drawn", [False, True], ids=["labels", "drawn"])
def test_a_crf_refines_on_the_device(session: Any, resident: ResidentSession, drawn: bool) -> None:
    """Exact on both; float sums in another order, so a pixel in a thousand may differ."""
    drawer = overlay(session.spec) if drawn else None
    ours, theirs = (CrfRefiner(WARM, 3, "exact") for _ in range(2))
    cpu, changed = CpuPath(session, TemporalEvidence(), theirs, drawer), False
    with GpuPath(resident, True, ours, drawer) as gpu:
        for frame in moving((26, 30)):
            (labels, picture), (expected, drawing) = ends(gpu, frame), ends(cpu, frame)
            assert (labels == expected).mean() >= 0.999
            changed |= bool((labels != ends(CpuPath(session), frame)[0]).any())
            if picture is not None and drawing is not None:
                assert (picture == drawing).mean() >= 0.99
    assert changed
    assert ours.iterations == theirs.iterations == {2: 3}


def test_a_stream_takes_either_way(
    session: Any, resident: ResidentSession, make_source: Callable[..., FrameSource]
) -> None:
    drawer = overlay(session.spec)
    with (
        GpuPath(resident, True, None, drawer) as path,
        one_camera(make_source(moving((36, 60))), session, drawer=drawer, path=path) as ours,
    ):
        results = list(ours)
    with one_camera(
        make_source(moving((36, 60))), session, temporal=TemporalEvidence(), drawer=drawer
    ) as theirs:
        expected = list(theirs)
    assert len(results) == 3
    for result, other in zip(results, expected, strict=True):
        np.testing.assert_array_equal(result.labels, other.labels)
        assert result.picture is not None
        assert result.picture.shape == (36, 60, 3)
    assert ours.timings.stages.keys() == {"capture", "infer", "draw"}


@pytest.mark.parametrize("drawn", [False, True], ids=["labels", "drawn"])
@pytest.mark.parametrize("crf", [False, True], ids=["arg max", "crf"])
def test_an_image_goes_up_and_one_result_comes_down(
    session: Any, host_device: Callable[..., HostDevice], crf: bool, drawn: bool
) -> None:
    device = host_device()
    resident = ResidentSession(session, device)
    refiner = CrfRefiner(WARM, 3, "exact") if crf else None
    drawer = overlay(session.spec) if drawn else None
    pixels = 26 * 30
    with GpuPath(resident, True, refiner, drawer) as path:
        for frame in moving((26, 30)):
            before = len(device.uploads), len(device.downloads), device.allocations
            ends(path, frame)
        ups, downs = device.uploads[before[0] :], device.downloads[before[1] :]
        ups.remove(resident.up)  # the fake engine's own
        downs.remove(resident.down)
        assert ups == [3 * pixels]
        *counts, result = downs
        assert result == (4 if drawn else 1) * pixels
        assert sum(counts) == (16 + 4 if crf else 0)  # lattice's counters, and whether to refuse
        if not crf:
            assert device.allocations == before[2]


def test_frames_of_another_size_take_the_place_of_the_old(
    session: Any, host_device: Callable[..., HostDevice]
) -> None:
    device = host_device()
    resident = ResidentSession(session, device)
    held = device.held
    with GpuPath(resident, True, CrfRefiner(WARM, 3, "exact"), overlay(session.spec)) as path:
        counts = []
        for size in ((20, 30), (24, 26), (20, 30)):
            labels, picture = ends(path, next(moving(size)))
            assert labels.shape == size
            assert picture is not None
            assert picture.shape == (*size, 3)
            counts.append(device.held)
        assert counts[0] == counts[1] == counts[2]
    assert device.held == held


def test_a_result_stays_when_the_next_frame_comes(resident: ResidentSession) -> None:
    with GpuPath(resident) as path:
        first, second = (ends(path, frame)[0] for frame in moving((36, 60), count=2))
        again = ends(path, next(moving((36, 60), count=2)))[0]
    np.testing.assert_array_equal(first, again)
    assert (first != second).any()


def test_the_opacity_may_change_from_frame_to_frame(
    session: Any, resident: ResidentSession
) -> None:
    drawer, frame = overlay(session.spec), next(moving((36, 60)))
    with GpuPath(resident, False, None, drawer) as gpu:
        for drawer.alpha in (0.4, 0.9):
            picture, expected = ends(gpu, frame)[1], ends(CpuPath(session, drawer=drawer), frame)[1]
            np.testing.assert_array_equal(picture, expected)


def test_a_watch_sees_what_the_model_sees(session: Any, resident: ResidentSession) -> None:
    class Watch:
        def __init__(self) -> None:
            self.seen: list[Image] = []

        def see(self, image: Image) -> None:
            self.seen.append(image)

    watch, frame = Watch(), next(moving((49, 129)))
    with GpuPath(resident, watch=watch) as path:
        ends(path, frame)
    np.testing.assert_array_equal(watch.seen[0], fit_frame(frame.image, session.spec.input_size))


def test_frames_that_do_not_follow_start_anew(session: Any, resident: ResidentSession) -> None:
    images = [frame.image for frame in moving((48, 64))]
    times = [0.0, 0.1, 5.0]  # the last after a pause
    frames = [
        Frame(image, n, 0.0, at) for n, (image, at) in enumerate(zip(images, times, strict=True))
    ]
    cpu = CpuPath(session, TemporalEvidence())
    with GpuPath(resident, temporal=True) as gpu:
        for frame in frames:
            np.testing.assert_array_equal(ends(gpu, frame)[0], ends(cpu, frame)[0])


def test_a_budget_is_the_crfs_alone(resident: ResidentSession) -> None:
    refiner = CrfRefiner(WARM, 3, "exact", budget_ms=1e-6)
    with GpuPath(resident, crf=refiner) as path:
        ends(path, next(moving((26, 30))))
    assert refiner.iterations == {1: 1}


@pytest.mark.parametrize("size", [(9, 16), (5, 40), (1, 1)], ids=str)
def test_a_crf_refines_frames_smaller_than_the_logits(
    session: Any, resident: ResidentSession, size: tuple[int, int]
) -> None:
    """The logits are 12x16."""
    ours, theirs = (CrfRefiner(WARM, 3, "exact") for _ in range(2))
    with GpuPath(resident, crf=ours) as gpu:
        for frame in moving(size):
            labels, _ = ends(gpu, frame)
            np.testing.assert_array_equal(labels, ends(CpuPath(session, refiner=theirs), frame)[0])


def test_logits_that_are_no_numbers_are_refused_by_the_crf(session: Any, device: Device) -> None:
    resident = ResidentSession(session, device)
    resident.run = lambda frames: np.full_like(session.run(frames), np.nan)
    with (
        GpuPath(resident, crf=CrfRefiner(WARM, 3, "exact")) as path,
        pytest.raises(Refused, match="NaN or infinity"),
    ):
        ends(path, next(moving((26, 30))))


@pytest.mark.parametrize(
    ("crf", "sizes"), [(False, SIZES), (True, [(26, 30), (20, 24)])], ids=["arg max", "crf"]
)
def test_frames_of_several_cameras_in_one_run_are_what_each_gets_alone(
    session: Any,
    host_device: Callable[..., HostDevice],
    crf: bool,
    sizes: list[tuple[int, int]],
) -> None:
    device = host_device()
    resident = ResidentSession(session, device, most_frames=4)
    held, drawer = device.held, overlay(session.spec)
    with ExitStack() as stack:
        ours, alone = (
            [stack.enter_context(GpuPath(resident, True, _warm(crf), drawer)) for _ in sizes]
            for _ in range(2)
        )
        batch = stack.enter_context(GpuBatch(resident))
        assert batch.most_frames == 4
        for frames in zip(*map(moving, sizes), strict=True):
            resident.counts.clear()
            work = list(zip(ours, frames, strict=True))
            outcomes = batch.infer(work)
            assert resident.counts == [len(sizes)]
            for path, frame, outcome in zip(alone, frames, outcomes, strict=True):
                expected = path.infer(path.prepare(frame))
                np.testing.assert_array_equal(outcome.labels, expected.labels)
                np.testing.assert_array_equal(outcome.picture, expected.picture)
            for path, frame in work[:1]:  # one alone needs no copy
                launches = len(device.launches)
                (outcome,) = batch.infer([(path, frame)])
                assert "pack_rgb" not in device.launches[launches:]
        counts = [path.timings.stages["infer"].count for path in ours]
        assert counts == [6] + [3] * (len(sizes) - 1)
    assert device.held == held


def test_a_camera_whose_frame_is_refused_leaves_the_batch(
    session: Any, host_device: Callable[..., HostDevice]
) -> None:
    resident = ResidentSession(session, host_device(), most_frames=3)
    fine = replace(WARM, sigma_gamma=0.006)
    with ExitStack() as stack:
        refiners = [CrfRefiner(fine, 3, "exact") for _ in range(3)]
        paths = [stack.enter_context(GpuPath(resident, False, crf)) for crf in refiners]
        batch = stack.enter_context(GpuBatch(resident))
        sizes = (26, 30), (20, 280), (36, 60)  # the second is too wide for so fine a lattice
        frames = [next(moving(size)) for size in sizes]
        first, second, third = batch.infer(list(zip(paths, frames, strict=True)))
        assert resident.counts == [2]
        assert isinstance(second, UsageError)
        for outcome, frame in ((first, frames[0]), (third, frames[2])):
            path = stack.enter_context(GpuPath(resident, False, CrfRefiner(fine, 3, "exact")))
            np.testing.assert_array_equal(outcome.labels, path.infer(frame).labels)
        (alone,) = batch.infer([(paths[1], frames[1])])
        assert isinstance(alone, UsageError)


def test_several_streams_share_a_plan(
    session: Any, resident: ResidentSession, make_source: Callable[..., FrameSource]
) -> None:
    many = ResidentSession(session, resident.device, most_frames=3)
    with ExitStack() as stack:
        paths = [stack.enter_context(GpuPath(many, True)) for _ in SIZES]
        lanes = [
            Lane(make_source(moving(size, 5)), path)
            for size, path in zip(SIZES, paths, strict=True)
        ]
        stream = stack.enter_context(Stream(lanes, stack.enter_context(GpuBatch(many))))
        results = list(stream)
    assert max(many.counts) <= 3
    for camera, size in enumerate(SIZES):
        own = [result for result in results if result.camera == camera]
        assert len(own) == 5
        with GpuPath(resident, True) as path:
            for result, frame in zip(own, moving(size, 5), strict=True):
                np.testing.assert_array_equal(result.labels, ends(path, frame)[0])


def _warm(crf: bool) -> CrfRefiner | None:
    return CrfRefiner(WARM, 3, "exact") if crf else None


def test_sessions_that_can_stay_on_the_device_are_told(
    session: Any, resident: ResidentSession
) -> None:
    assert isinstance(resident, DeviceSession)
    assert not isinstance(session, DeviceSession)


def test_stream_py_takes_the_gpus_way_with_a_session_on_one(
    tiny_bundle: Path,
    host_device: Callable[..., HostDevice],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    device = host_device()

    def open_on_device(bundle: Bundle, precision: str, target: str) -> ResidentSession:
        return ResidentSession(open_session(bundle, precision, "cpu", threads=1), device)

    monkeypatch.setattr("runtime.assembly.open_session", open_on_device)
    options = Options(
        ("street:?size=64x48&frames=3",), bundle=tiny_bundle, target="tensorrt", precision="fp32",
        crf="off", headless=True,
    )  # fmt: skip
    summary = stream.run(options)
    assert (summary.frames, summary.target) == (3, "tensorrt")
    assert summary.stages.keys() == {"capture", "infer"}
    assert device.uploads.count(3 * 64 * 48) == 3
    assert "a session behind a device" in capsys.readouterr().out
    with pytest.raises(UsageError, match="--crf fast is the CPU's"):
        stream.run(replace(options, crf="fast"))
