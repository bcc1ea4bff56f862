"""Real plans: refused here for want of a GPU, and on one compared with onnxruntime."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from engines.bundle import Bundle, Golden, writing_bundle
from engines.failures import DeviceMissing, Refused
from engines.gpu_facts import probe_gpu
from engines.labels import upsample_argmax
from engines.manifest import Manifest
from engines.onnxruntime_session import OnnxRuntimeSession
from engines.plan_context import PlanContext
from engines.plan_sidecar import environment
from engines.tensorrt_runtime import LIBRARIES, load_library, require_support
from engines.tensorrt_session import open_tensorrt

pytestmark = pytest.mark.tensorrt
ROOT = Path(__file__).parents[2]
Build = Callable[..., Bundle]
FRAMES = (
    np.random.default_rng(5).integers(0, 256, (4, 24, 32, 3), np.uint8).repeat(4, 1).repeat(4, 2)
)


@pytest.fixture
def build(tiny_bundle: Path, tmp_path: Path) -> Build:
    """`build(target, batch)`: the small model with golden frames and a real FP32 plan; with
    `wrong`, the frames' labels are others."""
    from export.build_engine import main

    tiny = Bundle.open(tiny_bundle)
    data = tiny.read(tiny.graph("fp32"))
    with OnnxRuntimeSession(data, tiny.spec, "fp32", 1) as session:
        logits = [session.run(frame[None])[0] for frame in FRAMES]
    labels = [upsample_argmax(item, tiny.spec.input_size) for item in logits]
    root = tmp_path / "bundle"

    def built(target: str, batch: int, wrong: bool = False) -> Bundle:
        told = [np.flip(item) for item in labels] if wrong else labels
        with writing_bundle(root) as writer:
            writer.add_bytes("fp32.onnx", data, "onnx", precision="fp32")
            writer.add_golden([Golden(f, m) for f, m in zip(FRAMES, told, strict=True)])
            writer.finish(Manifest(tiny.spec, "fp32", ()))
        arguments = ["--bundle", str(root), "--fp32", "--target", target, "--batch", str(batch)]
        assert main(arguments) == 0
        return Bundle.open(root)

    return built


@pytest.fixture
def without_gpu() -> None:
    if probe_gpu() is not None:
        pytest.skip("there is a GPU here")
    if importlib.util.find_spec("tensorrt_rtx") is None:
        pytest.skip("only TensorRT for RTX builds plans without a GPU")


def skip_unless_it_runs_here(target: str) -> None:
    """One of the libraries is enough, and each is for other GPUs."""
    try:
        trt = load_library(target)
        require_support(trt, environment(trt.__name__))
    except DeviceMissing as error:
        pytest.skip(str(error))


@pytest.mark.usefixtures("without_gpu")
def test_a_real_plan_is_refused_for_want_of_a_gpu(build: Build) -> None:
    bundle = build("tensorrt-rtx", 1)
    with pytest.raises(DeviceMissing, match="no NVIDIA GPU can be used here"):
        open_tensorrt(bundle, "fp32", "tensorrt-rtx")
    command = [sys.executable, "runtime/stream.py", "--camera", "street:", "--headless"]
    command += ["--bundle", str(bundle.root), "--target", "tensorrt-rtx", "--precision", "fp32"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert told.returncode == 4
    assert "no NVIDIA GPU can be used here" in told.stderr
    assert "Traceback" not in told.stderr


@pytest.mark.usefixtures("without_gpu")
def test_the_real_library_says_why_it_does_not_take_a_plan(build: Build) -> None:
    """Our logger is a subclass of its own, and what it was told last is the reason."""
    bundle = build("tensorrt-rtx", 1)
    plan = bundle.plan("tensorrt-rtx", "fp32")
    assert plan is not None
    with pytest.raises(Refused, match=r"does not take the plan: .*CUDA"):
        PlanContext(load_library("tensorrt-rtx"), bundle.read(plan), bundle.spec, None)  # type: ignore[arg-type]


@pytest.mark.usefixtures("without_gpu")
def test_a_real_plan_of_another_version_is_refused_before_a_gpu_is_looked_for(
    build: Build, tmp_path: Path
) -> None:
    bundle = build("tensorrt-rtx", 1)
    version = load_library("tensorrt-rtx").__version__
    with writing_bundle(tmp_path / "another") as writer:
        for file in bundle.manifest.files:
            data = bundle.read(file)
            if file.kind == "sidecar":
                data = data.replace(version.encode(), b"1.2.3")
            facts = {"precision": file.precision, "target": file.target}
            writer.add_bytes(file.name, data, file.kind, **facts)
        writer.finish(bundle.manifest)
    other = Bundle.open(tmp_path / "another")
    reason = f"built with tensorrt_rtx 1.2.3, here is {version}; build it again: python export"
    with pytest.raises(Refused, match=reason):
        open_tensorrt(other, "fp32", "tensorrt-rtx")


@pytest.mark.gpu
@pytest.mark.parametrize("target", LIBRARIES)
def test_a_real_plan_gives_onnxruntimes_logits(
    build: Build, target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    skip_unless_it_runs_here(target)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    bundle = build(target, 4)
    with OnnxRuntimeSession(bundle.read(bundle.graph("fp32")), bundle.spec, "fp32") as session:
        expected = np.concatenate([session.run(frame[None]) for frame in FRAMES])
    tolerance = 1e-3 * np.abs(expected).max()  # TF32 has 10 bits of mantissa
    for _ in range(2):  # the second time with what RTX compiled the first
        with open_tensorrt(bundle, "fp32", target) as session:
            for count in (1, 1, 1, 4, 4, 4, 3, 1):
                logits = session.run(FRAMES[:count])
                np.testing.assert_allclose(logits, expected[:count], atol=tolerance)
            other = session.device.allocate(FRAMES[:1].nbytes)
            for buffer in (session.input, other, other, other):
                session.device.upload(FRAMES[2], buffer)
                result = np.empty_like(expected[:1])
                session.device.download(session.run_on_device(buffer), result)
                np.testing.assert_allclose(result, expected[2:3], atol=tolerance)
            assert "no CUDA graph" not in session.description
    assert (tmp_path / "cache" / "deeplab-edge" / "runtime").exists() is (target == "tensorrt-rtx")


@pytest.mark.gpu
@pytest.mark.parametrize("target", LIBRARIES)
def test_a_real_plan_with_other_labels_than_the_bundles_fails_its_self_test(
    build: Build, target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    skip_unless_it_runs_here(target)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(Refused, match="fails its self-test"):
        open_tensorrt(build(target, 1, wrong=True), "fp32", target)
