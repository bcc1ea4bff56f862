"""Sessions on a GPU, over fakes of TensorRT 10.3, 10.13, 11 and TensorRT for RTX."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from engines import plan_sidecar
from engines.device import open_device
from engines.tensorrt_session import open_tensorrt
from tests.engines.fake_gpu import FakeGpu
from tests.engines.fake_tensorrt import VERSIONS, FakeLibrary
from tests.engines.plan_bundles import (
    FRAMES,
    assert_given_back,
    build,
    network,
    opened,
    target_of,
)


def test_every_library_runs_a_plan(library: FakeLibrary, gpu: FakeGpu, tmp_path: Path) -> None:
    with opened(tmp_path, library) as session:
        assert (session.target, session.precision) == (target_of(library), "fp16")
        for count in (1, 1, 1, 8, 8, 3, 1):
            logits = session.run(FRAMES[:count])
            assert logits.dtype == np.float32
            np.testing.assert_array_equal(logits, [network(frame) for frame in FRAMES[:count]])
        told = session.description
        assert told.startswith(
            f"fp16 on {session.target} ({library.name} {VERSIONS[library.flavour]}"
        )
        assert "Orin (sm_87) through PyCUDA, CUDA graph)" in told
    assert_given_back(gpu)


def test_logits_are_the_callers_to_keep(tensorrt: FakeLibrary, tmp_path: Path) -> None:
    with opened(tmp_path, tensorrt) as session:
        first = session.run(FRAMES[:1])
        session.run(FRAMES[1:2])
        np.testing.assert_array_equal(first[0], network(FRAMES[0]))


def test_frames_need_not_lie_in_one_piece(tensorrt: FakeLibrary, tmp_path: Path) -> None:
    with opened(tmp_path, tensorrt) as session:
        mirrored = FRAMES[:2, :, ::-1]
        np.testing.assert_array_equal(session.run(mirrored), [network(f) for f in mirrored])


@pytest.mark.parametrize("shape", [(1, 33, 48, 3), (1, 32, 48), (32, 48, 3), (1, 32, 48, 4)])
def test_frames_of_another_size_are_the_callers_mistake(
    tensorrt: FakeLibrary, tmp_path: Path, shape: tuple[int, ...]
) -> None:
    with opened(tmp_path, tensorrt) as session:
        with pytest.raises(ValueError, match=r"model input is uint8 \[N, 32, 48, 3\], got uint8"):
            session.run(np.zeros(shape, np.uint8))
        with pytest.raises(ValueError, match="got float32"):
            session.run(np.zeros((1, 32, 48, 3), np.float32))


@pytest.mark.parametrize("count", [0, 9])
def test_more_frames_than_the_profile_takes(
    tensorrt: FakeLibrary, tmp_path: Path, count: int
) -> None:
    with opened(tmp_path, tensorrt) as session:
        with pytest.raises(ValueError, match=f"takes 1 to 8 frames a run, got {count}"):
            session.run(FRAMES[:count])
        with pytest.raises(ValueError, match=f"got {count}"):
            session.run_on_device(session.input, count)


def test_tensorrt_runs_once_and_is_then_captured_for_each_shape(
    tensorrt: FakeLibrary, tmp_path: Path
) -> None:
    with opened(tmp_path, tensorrt) as session:
        tensorrt.log.clear()
        for count in (1, 4, 4, 4, 1):
            session.run(FRAMES[:count])
        assert tensorrt.log == [
            "ran 1",  # a graph since the self-test
            "enqueued 4", "ran 4", "captured", "ran 4", "ran 4",
            "enqueued 1", "ran 1",
        ]  # fmt: skip


def test_rtx_captures_its_own_graphs(rtx: FakeLibrary, gpu: FakeGpu, tmp_path: Path) -> None:
    with opened(tmp_path, rtx) as session:
        session.run(FRAMES[:1])
        assert "captured" not in rtx.log
        assert not gpu.graphs
        assert "CUDA graph" in session.description


def test_what_cannot_be_captured_is_enqueued_and_told(
    tensorrt: FakeLibrary, tmp_path: Path
) -> None:
    tensorrt.broken = "capture"
    with opened(tmp_path, tensorrt) as session:
        for _ in range(3):
            np.testing.assert_array_equal(session.run(FRAMES[:1])[0], network(FRAMES[0]))
        assert "no CUDA graph: tensorrt 10.3.0 could not run the plan" in session.description


def test_another_power_mode_is_told(
    tensorrt: FakeLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = build(tmp_path / "bundle", tensorrt)
    monkeypatch.setattr(plan_sidecar, "power_mode", lambda: "15W")
    with open_tensorrt(bundle, "fp16", "tensorrt") as session:
        assert session.description.endswith("built at MAXN, now 15W)")


def test_frames_on_the_device_stay_there(
    library: FakeLibrary, gpu: FakeGpu, tmp_path: Path
) -> None:
    with opened(tmp_path, library) as session:
        result = np.empty((2, 2, 8, 12), np.float32)
        other = session.device.allocate(FRAMES[:2].nbytes)
        for frames, buffer in (
            (FRAMES[:2], session.input), (FRAMES[2:4], session.input), (FRAMES[4:6], other),
        ):  # fmt: skip
            session.device.upload(frames, buffer)
            logits = session.run_on_device(buffer, 2)
            assert logits == session.output
            session.device.download(logits, result)
            np.testing.assert_array_equal(result, [network(frame) for frame in frames])


def test_a_session_may_be_used_from_many_threads(tensorrt: FakeLibrary, tmp_path: Path) -> None:
    """One after the other: each gets the logits of its own frames."""
    wrong: list[int] = []
    with opened(tmp_path, tensorrt) as session:

        def work(index: int) -> None:
            for _ in range(20):
                logits = session.run(FRAMES[index : index + 1])
                if not np.array_equal(logits[0], network(FRAMES[index])):
                    wrong.append(index)

        threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong


def test_all_is_freed_in_the_right_order_and_once(
    library: FakeLibrary, gpu: FakeGpu, tmp_path: Path
) -> None:
    session = opened(tmp_path, library)
    session.close()
    assert library.log[-3:] == ["context freed", "engine freed", "runtime freed"]
    assert_given_back(gpu)
    assert gpu.closed
    session.close()
    with pytest.raises(RuntimeError, match="closed"):
        session.run(FRAMES[:1])
    with pytest.raises(RuntimeError, match="closed"):
        session.run_on_device(session.input)


def test_a_lent_device_is_not_closed(tensorrt: FakeLibrary, gpu: FakeGpu, tmp_path: Path) -> None:
    device = open_device("cuda-core")
    with open_tensorrt(build(tmp_path / "bundle", tensorrt), "fp16", "tensorrt", device) as session:
        assert session.device is device
        session.run(FRAMES[:1])
    device.synchronise()
    assert_given_back(gpu)
    assert not gpu.closed
