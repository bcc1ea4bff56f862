"""Bundles with a plan for a fake TensorRT, and the model that it is of."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engines import plan_sidecar
from engines.bundle import Bundle, BundleWriter, Golden, writing_bundle
from engines.gpu_facts import GpuFacts
from engines.labels import upsample_argmax
from engines.manifest import Manifest
from engines.plan_sidecar import HashedFile, PlanOptions, PlanSidecar, environment
from engines.spec import ModelSpec
from engines.tensorrt_session import TensorRtSession, open_tensorrt
from tests.engines.fake_gpu import FakeGpu
from tests.engines.fake_tensorrt import FakeLibrary, plan

SPEC = ModelSpec(
    "tiny", "none", ("Dark", "Bright"), ((1, 2, 3), (4, 5, 6)), (32, 48), (0.0,) * 3, (1.0,) * 3
)  # fmt: skip
REBUILD = r"python export/build_engine.py --fp16 --bundle .*bundle --target tensorrt"
Edit = Callable[[PlanSidecar], PlanSidecar]
FRAMES = np.random.default_rng(0).integers(0, 256, (9, 32, 48, 3), np.uint8)


def network(frame: NDArray[np.uint8]) -> NDArray[np.float32]:
    """How bright each 4x4 block is: logits [2, 8, 12]."""
    blocks = frame.mean(axis=2, dtype=np.float32).reshape(8, 4, 12, 4).mean(axis=(1, 3))
    return np.stack([127.5 - blocks, blocks - 127.5]).astype(np.float32)


def use(flavour: str, gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch) -> FakeLibrary:
    """A TensorRT, installed; the machine of the one for RTX is a desktop."""
    library = FakeLibrary(flavour, gpu, network)
    if flavour == "rtx":
        facts = GpuFacts("RTX 4070", "8.9", "12.6")
        monkeypatch.setattr(plan_sidecar, "probe_gpu", lambda index: facts)
    monkeypatch.setitem(sys.modules, library.name, library.module())
    return library


def target_of(library: FakeLibrary) -> str:
    return library.name.replace("_", "-")


def build(
    root: Path,
    library: FakeLibrary,
    data: bytes | None = None,
    edit: Edit | None = None,
    golden: int = 3,
    agreement: dict[str, float] | None = None,
) -> Bundle:
    """A bundle with an FP16 plan for the library, built on this machine; `edit` changes what its
    sidecar says."""
    target = target_of(library)
    with writing_bundle(root) as writer:
        source = writer.add_bytes("fp16.onnx", b"graph", "onnx", precision="fp16")
        facts = {"precision": "fp16", "target": target}
        file = writer.add_bytes("fp16.plan", data or plan((1, 8)), "plan", **facts)
        here = environment(library.name)
        assert here.compute_capability is not None
        sidecar = PlanSidecar(
            target,
            "fp16",
            here,
            (here.compute_capability,),
            HashedFile(file.name, file.sha256),
            HashedFile(source.name, source.sha256),
            (1, 1, 8),
            ((32, 48),) * 3,
            PlanOptions(workspace_mb=64),
        )
        text = (edit(sidecar) if edit else sidecar).text().encode()
        writer.add_bytes("fp16.plan.json", text, "sidecar", **facts)
        add_golden(writer, golden)
        provenance = {"golden_agreement": agreement or {"fp16": 0.999}}
        writer.finish(Manifest(SPEC, "fp16", (), provenance))
    return Bundle.open(root)


def add_golden(writer: BundleWriter, count: int) -> None:
    frames = FRAMES[:count]
    labels = [upsample_argmax(network(frame), SPEC.input_size) for frame in frames]
    writer.add_golden([Golden(f, m) for f, m in zip(frames, labels, strict=True)])


def opened(root: Path, library: FakeLibrary, **how: Any) -> TensorRtSession:
    return open_tensorrt(build(root / "bundle", library, **how), "fp16", target_of(library))


def assert_given_back(gpu: FakeGpu) -> None:
    assert not gpu.memory
    assert not gpu.pinned
    assert not gpu.graphs
    assert not gpu.queue
    assert gpu.depth == 0
