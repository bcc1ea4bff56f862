"""The GPU's way of a frame with a real plan, which only a machine with a GPU can run."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crf.temporal import TemporalEvidence
from engines.bundle import Bundle, Golden, writing_bundle
from engines.labels import upsample_argmax
from engines.onnxruntime_session import OnnxRuntimeSession
from engines.tensorrt_runtime import LIBRARIES
from engines.tensorrt_session import open_tensorrt
from runtime.cpu_path import CpuPath
from runtime.frame_path import FramePath, Labels
from runtime.gpu_path import GpuPath
from runtime.options import Options
from runtime.overlay import Overlay
from runtime.source import Frame, Image
from runtime.stream import run
from scenes.street import StreetCamera

pytestmark = [pytest.mark.gpu, pytest.mark.tensorrt]

SIZE = (120, 160)


@pytest.fixture(params=LIBRARIES)
def target(request: pytest.FixtureRequest) -> str:
    """Each TensorRT that is installed."""
    if importlib.util.find_spec(LIBRARIES[request.param]) is None:
        pytest.skip(f"{LIBRARIES[request.param]} is not installed")
    return str(request.param)


@pytest.fixture
def bundle(
    tiny_bundle: Path, target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Bundle:
    """The small model with a golden frame and an FP32 plan."""
    from export.build_engine import main

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    tiny, root = Bundle.open(tiny_bundle), tmp_path / "bundle"
    data = tiny.read(tiny.graph("fp32"))
    frame = StreetCamera(tiny.spec.input_size, seed=1).scene(0).frame
    with OnnxRuntimeSession(data, tiny.spec, "fp32", 1) as session:
        mask = upsample_argmax(session.run(frame[None])[0], tiny.spec.input_size)
    with writing_bundle(root) as writer:
        writer.add_bytes("fp32.onnx", data, "onnx", precision="fp32")
        writer.add_golden([Golden(frame, mask)])
        writer.finish(replace(tiny.manifest, files=()))
    assert main(["--bundle", str(root), "--fp32", "--target", target]) == 0
    return Bundle.open(root)


def ends(path: FramePath[Any, Any], frames: list[Frame]) -> list[tuple[Labels, Image | None]]:
    """Labels and pictures, the steps one after the other."""
    results = []
    for frame in frames:
        inferred = path.infer(path.prepare(frame))
        labels = path.label(frame, inferred)
        results.append((labels, path.draw(frame, inferred, labels, 25.0, 0.04)))
    return results


def test_labels_and_pictures_are_the_cpus(bundle: Bundle, target: str) -> None:
    """The same plan on both ways, so every bit; over enough frames for its CUDA graph."""
    camera, drawer = StreetCamera(SIZE, seed=2), Overlay(bundle.spec, "title", 0.5)
    frames = [Frame(camera.scene(n).frame, n, 0.0, n / 25) for n in range(5)]
    with open_tensorrt(bundle, "fp32", target) as session:
        with GpuPath(session, True, None, drawer) as gpu:
            ours = ends(gpu, frames)
        assert "no CUDA graph" not in session.description
        theirs = ends(CpuPath(session, TemporalEvidence(), None, drawer), frames)
    for (labels, picture), (expected, drawing) in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(labels, expected)
        assert picture is not None
        np.testing.assert_array_equal(picture, drawing)


@pytest.mark.parametrize("crf", ["off", "exact"])
def test_the_stream_runs_on_the_plan(
    bundle: Bundle, target: str, crf: str, tmp_path: Path, make_video: Callable[..., Path]
) -> None:
    options = Options(
        (str(make_video(count=5, size=SIZE)),), bundle=bundle.root, target=target, precision="fp32",
        crf=crf, headless=True, record=tmp_path / "out.mp4",
    )  # fmt: skip
    summary = run(options)
    assert (summary.frames, summary.target) == (5, target)
    assert summary.stages.keys() == {"capture", "infer", "draw", "record"}
    assert summary.crf_iterations == ({} if crf == "off" else {2: 5})
    assert (tmp_path / "out.mp4").stat().st_size > 0
