"""What the sessions of the CPU's two targets share."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from engines.bundle import Bundle
from engines.machine import sums_saturate
from engines.manifest import CPU_TARGETS
from engines.onnxruntime_session import load_graph
from engines.session import Session, open_session


@pytest.mark.parametrize("target", CPU_TARGETS)
def test_closing_waits_until_a_run_of_another_thread_has_ended(
    tiny_bundle: Path, target: str
) -> None:
    if target == "openvino" and importlib.util.find_spec("openvino") is None:
        pytest.skip("OpenVINO is not installed: pip install 'deeplab-edge[openvino]'")
    bundle = Bundle.open(tiny_bundle)
    session: Session = open_session(bundle, "fp32", target, 1)
    frames = np.zeros((1, *bundle.spec.input_size, 3), np.uint8)
    running, ended = threading.Event(), threading.Event()

    def run_for_ever() -> None:
        try:
            while True:
                session.run(frames)
                running.set()
        except Exception:  # cut short, or closed: each library says it in its own way
            ended.set()

    thread = threading.Thread(target=run_for_ever, daemon=True)
    thread.start()
    assert running.wait(60)
    session.close()
    assert ended.wait(60)
    session.close()  # a second time does nothing
    thread.join(60)
    assert not thread.is_alive()


SATURATING = """
import numpy as np
from onnx import TensorProto, helper, numpy_helper
import engines.onnxruntime_session
from engines.onnxruntime_session import load_graph

engines.onnxruntime_session.sums_saturate = lambda: True  # /proc/cpuinfo is the host's

def constant(name, value):
    return numpy_helper.from_array(np.asarray(value), name)

constants = [
    constant("scale", np.float32(1)), constant("zero", np.uint8(0)), constant("none", np.int8(0)),
    constant("codes", np.full((16, 64, 1, 1), 127, np.int8)), constant("wide", np.float32(1e5)),
]
nodes = [
    helper.make_node("DequantizeLinear", ["x", "scale", "zero"], ["a"]),
    helper.make_node("DequantizeLinear", ["codes", "scale", "none"], ["w"]),
    helper.make_node("Conv", ["a", "w"], ["b"]),
    helper.make_node("QuantizeLinear", ["b", "wide", "zero"], ["q"]),
    helper.make_node("DequantizeLinear", ["q", "wide", "zero"], ["y"]),
]
x = helper.make_tensor_value_info("x", TensorProto.UINT8, [1, 64, 4, 4])
y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 16, 4, 4])
graph = helper.make_graph(nodes, "saturating", [x], [y], constants)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
session = load_graph(model.SerializeToString(), "test", 1)
(found,) = session.run(None, {"x": np.full((1, 64, 4, 4), 255, np.uint8)})
exact = round(64 * 255 * 127 / 1e5) * 1e5
assert (found == exact).all(), (found.ravel()[0], exact)
"""


@pytest.mark.slow
def test_int8_is_exact_on_a_cpu_without_vnni() -> None:
    """On an emulated Haswell, whose fast kernels saturate."""
    pytest.importorskip("onnx", reason="the [export] extra writes the graph")
    emulator = shutil.which("qemu-x86_64") or shutil.which("qemu-x86_64-static")
    if emulator is None:
        pytest.skip("no qemu-x86_64 to emulate an older CPU with: apt install qemu-user")
    command = [emulator, "-cpu", "Haswell", sys.executable, "-c", SATURATING]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize(
    ("flags", "saturate"), [("fma avx2", True), ("avx2 avx512_vnni", False), ("avx_vnni", False)]
)
def test_exact_kernels_are_taken_where_the_fast_ones_saturate(
    tiny_bundle: Path, tmp_path: Path, flags: str, saturate: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(f"model name\t: a CPU\nflags\t\t: fpu {flags}\n")
    monkeypatch.setattr("engines.machine.CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    bundle = Bundle.open(tiny_bundle)
    session = load_graph(bundle.read(bundle.graph("fp32")), "test", 1)
    options = session.get_session_options()
    key = "session.x64quantprecision"
    assert sums_saturate() is saturate
    if saturate:
        assert options.get_session_config_entry(key) == "1"
    else:
        with pytest.raises(RuntimeError, match=key):
            options.get_session_config_entry(key)
