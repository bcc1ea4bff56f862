"""The comparison on a GPU: what its rows mean, over fakes; and PyTorch's side on a real one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import benchmarks.engines
from benchmarks import contenders, crf_cases, cuda_peers, gpu_speed
from benchmarks.contenders import Contender
from benchmarks.crf_cases import Case
from crf import DenseCrf
from engines import gpu_facts
from engines.bundle import Bundle
from engines.failures import DeviceMissing
from engines.gpu_facts import GpuFacts
from engines.labels import upsample
from scenes.dataset import Scene

Floats = NDArray[np.float32]


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU with PyTorch's eager mode only; its CRF is the CPU's; clocks tell 1, 2, 3 ... ms."""
    monkeypatch.setattr(gpu_facts, "probe_gpu", lambda: GpuFacts("Fake", "8.9", "13.0"))

    def peer(name: str, bundle: Bundle) -> Contender:
        if name == "torch-fp16-compiled":
            raise DeviceMissing("no compiler")
        return contenders.our_session(bundle, "fp32", "cpu", 1)

    def named(name: str, bundle: Bundle) -> Contender:
        return Contender(name, peer(name, bundle).run)

    def scenes(data: str, split: str, limit: int, size: tuple[int, int]) -> list[Scene]:
        random = np.random.default_rng(0)
        frames = random.integers(0, 256, (limit, *size, 3), dtype=np.uint8)
        labels = np.zeros(size, np.uint8)
        return [Scene(str(index), frame, labels) for index, frame in enumerate(frames)]

    def turns(runners: list[Any], inputs: list[Any]) -> dict[str, float]:
        return {runner.name: float(place) for place, runner in enumerate(runners, start=1)}

    monkeypatch.setattr(cuda_peers, "cuda_peer", named)
    monkeypatch.setattr(benchmarks.engines, "load_scenes", scenes)
    monkeypatch.setattr(contenders, "take_turns", turns)


@pytest.fixture
def crf_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    import crf

    def on_the_cpu(
        size: tuple[int, int], classes: int, params: Any, backend: str = "cpu"
    ) -> DenseCrf:
        return DenseCrf(size, classes, params, "cpu", threads=1)

    def cases(bundle: Bundle, data: str, split: str, size: Any, count: int) -> list[Case]:
        frame = np.random.default_rng(0).integers(0, 256, (*size.frame, 3), dtype=np.uint8)
        logits: Floats = np.zeros((size.classes, 8, 8), np.float32)
        logits[3] = 1
        return [Case(frame, logits, upsample(logits, size.frame))]

    monkeypatch.setattr(crf, "DenseCrf", on_the_cpu)
    monkeypatch.setattr(crf_cases, "load_cases", cases)
    monkeypatch.setattr(gpu_speed, "CRF_SIZES", ("64x48x11",))


@pytest.mark.usefixtures("gpu", "crf_on_the_cpu")
def test_ours_against_each_peer(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "speed.json"
    assert gpu_speed.main(["--bundle", str(tiny_bundle), "--frames", "2", "--json", str(out)]) == 0
    result = json.loads(out.read_text())
    network, crf = result["results"]
    assert (network["name"], network["peer"]) == ("cpu-fp32", "torch-fp16-eager")
    assert (network["ours_ms"], network["peer_ms"], network["ratio"]) == (1.0, 2.0, 2.0)
    assert network["agreement"] == 1.0
    assert crf["name"] == "crf-cuda"
    assert crf["settings"]["size"] == "64x48"
    assert crf["agreement"] == 1.0
    assert result["skipped"] == {"torch-fp16-compiled": "no compiler"}
    assert result["gpu"] == "Fake"
    assert "torch-fp16-compiled skipped: no compiler" in capsys.readouterr().out


@pytest.mark.usefixtures("gpu")
def test_a_crf_without_kernels_is_skipped_with_the_reason(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import crf

    def none(*arguments: object) -> DenseCrf:
        raise DeviceMissing("no binding")

    monkeypatch.setattr(crf, "DenseCrf", none)
    monkeypatch.setattr(crf_cases, "load_cases", lambda *a: [])
    options = gpu_speed.Options(bundle=tiny_bundle, frames=1)
    assert gpu_speed.crfs(Bundle.open(tiny_bundle), options) == ([], {"crf-cuda": "no binding"})


def test_without_a_gpu_there_is_nothing_to_compare(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu_facts, "probe_gpu", lambda: None)
    assert gpu_speed.main([]) == 4
    assert "there is none" in capsys.readouterr().err


@pytest.mark.gpu
@pytest.mark.parametrize("name", gpu_speed.PEERS)
def test_pytorch_on_the_gpu_computes_the_bundles_network(
    name: str, network_bundle: Callable[[], Bundle]
) -> None:
    from benchmarks.torch_peers import torch_peer

    bundle = network_bundle()
    frame = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    expected = torch_peer("torch-eager", bundle, 1).run(frame)
    peer = cuda_peers.cuda_peer(name, bundle)
    for _ in range(3):  # a compiled network records a CUDA graph in its second run
        logits = peer.run(frame)
    assert logits.dtype == np.float32
    assert np.abs(logits - expected).max() <= 2e-2 * np.abs(expected).max()


@pytest.fixture
def network_bundle(tmp_path: Path) -> Callable[[], Bundle]:
    """A bundle of an untrained network's checkpoint alone."""

    def build() -> Bundle:
        import torch

        from engines.bundle import writing_bundle
        from engines.manifest import Manifest
        from engines.spec import ModelSpec
        from train.checkpoint import save_checkpoint
        from train.family import build_model

        spec = ModelSpec(
            "net", "deeplabv3plus_mobilenetv2", ("a", "b", "c"), ((0, 0, 0),) * 3, (64, 96),
            (127.5,) * 3, (60.0,) * 3,
        )  # fmt: skip
        torch.manual_seed(0)
        network = build_model(spec.architecture, 3)
        save_checkpoint(tmp_path / "net.safetensors", network, spec)
        weights = (tmp_path / "net.safetensors").read_bytes()
        with writing_bundle(tmp_path / "bundle") as writer:
            writer.add_bytes("checkpoint.safetensors", weights, "checkpoint")
            writer.finish(Manifest(spec, "fp32", ()))
        return Bundle.open(tmp_path / "bundle")

    return build
