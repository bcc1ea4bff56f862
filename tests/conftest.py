"""What every test may use: the real data where there is some, and marks that never hide."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines.borrowed_device import borrow
from engines.device import Device, open_device
from engines.spec import Colour
from tests.host_shim.host_device import HostDevice


@pytest.fixture(scope="session", autouse=True)
def ctrl_c() -> None:
    """Ctrl-C works: what a script starts in the background ignores it, and its children as well."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def deeplab_data() -> Path:
    """The folder with camvid/, weights/ and video/ that DEEPLAB_DATA names; else a skip."""
    root = os.environ.get("DEEPLAB_DATA")
    if not root:
        pytest.skip("DEEPLAB_DATA is not set: it names the folder with camvid/, weights/, video/")
    if not Path(root, "camvid").is_dir():
        pytest.fail(f"DEEPLAB_DATA={root} has no camvid/ folder")
    return Path(root)


@pytest.fixture
def host_device(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., HostDevice]:
    """`host_device(seed=1)`: runs CUDA kernels here, threads in the order of a seed."""
    if shutil.which("g++") is None:
        pytest.skip("no g++ to build the CUDA kernels' host shim with")
    compiled = tmp_path_factory.getbasetemp() / "host_shim"  # one compilation a session
    compiled.mkdir(exist_ok=True)
    return lambda seed=1: HostDevice(compiled, seed)


@pytest.fixture(scope="session")
def opened_gpu() -> Iterator[Device]:
    device = open_device()
    yield device
    device.close()


@pytest.fixture
def real_gpu(opened_gpu: Device) -> Iterator[Device]:
    """The GPU of this machine, for tests marked `gpu`; what one allocates is freed after it."""
    device = borrow(opened_gpu)
    yield device
    device.close()


@pytest.fixture(params=["host", pytest.param("gpu", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> Iterator[Device]:
    """A device whose kernels are compiled for the host; and then the GPU, where there is one."""
    if request.param == "gpu":
        yield request.getfixturevalue("real_gpu")
    else:
        shim = request.getfixturevalue("host_device")()
        yield shim
        shim.close()


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real bundle of 2 kB: its FP32 model gives each 4x4 block the class of the nearest colour.

    Input 96x128, CamVid's classes and palette, so its labels are known without a network.
    """
    onnx = pytest.importorskip("onnx", reason="the [export] extra writes the fixture's ONNX")
    from engines.bundle import writing_bundle
    from engines.manifest import Manifest
    from engines.spec import ModelSpec
    from scenes.camvid import CLASSES, PALETTE

    size = (96, 128)
    spec = ModelSpec(
        name="tiny",
        architecture="nearest-colour",
        classes=CLASSES,
        palette=PALETTE,
        input_size=size,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
    )
    root = tmp_path_factory.mktemp("bundles") / "tiny"
    with writing_bundle(root) as writer:
        graph = _nearest_colour(onnx, PALETTE, size).SerializeToString()
        writer.add_bytes("tiny.fp32.onnx", graph, "onnx", precision="fp32")
        writer.finish(Manifest(spec=spec, precision="fp32", files=()))
    return root


def _nearest_colour(onnx: Any, palette: tuple[Colour, ...], size: tuple[int, int]) -> Any:
    """argmin |x - c|² = argmax (c·x - |c|²/2): a 1x1 convolution over 4x4 averages."""
    helper, number = onnx.helper, onnx.TensorProto
    colours = np.asarray(palette, np.float32)
    weights = {"weight": colours[:, :, None, None], "bias": -(colours**2).sum(axis=1) / 2}
    nodes = [
        helper.make_node("Cast", ["frames"], ["float"], "cast", to=number.FLOAT),
        helper.make_node("Transpose", ["float"], ["planes"], "transpose", perm=[0, 3, 1, 2]),
        helper.make_node(
            "AveragePool", ["planes"], ["blocks"], "pool", kernel_shape=[4, 4], strides=[4, 4]
        ),
        helper.make_node("Conv", ["blocks", "weight", "bias"], ["logits"], "classify"),
    ]
    shape = [1, len(palette), size[0] // 4, size[1] // 4]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("frames", number.UINT8, [1, *size, 3])],
        [helper.make_tensor_value_info("logits", number.FLOAT, shape)],
        [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip `gpu` and `tensorrt` tests where the thing is missing, unless REQUIRE_* forbids it."""
    _require(items, "gpu", shutil.which("nvidia-smi") is not None, "no NVIDIA GPU here")
    found = any(importlib.util.find_spec(name) for name in ("tensorrt", "tensorrt_rtx"))
    _require(items, "tensorrt", found, "neither tensorrt nor tensorrt_rtx is installed")


def _require(items: list[pytest.Item], mark: str, present: bool, reason: str) -> None:
    if present or os.environ.get(f"REQUIRE_{mark.upper()}") == "1":
        return
    for item in items:
        if item.get_closest_marker(mark):
            item.add_marker(pytest.mark.skip(reason=reason))
