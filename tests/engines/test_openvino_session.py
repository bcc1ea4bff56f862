"""OpenVINO against onnxruntime on the same graphs, and how it behaves inside a process."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from engines import openvino_session
from engines.bundle import Bundle
from engines.failures import DeviceMissing, Refused
from engines.labels import upsample_argmax
from engines.openvino_session import OpenVinoSession
from engines.session import open_session

ROOT = Path(__file__).resolve().parents[2]
GUARD = 60  # seconds after which a process that hangs becomes a failure

needs_openvino = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="openvino is not installed"
)


@pytest.fixture
def bundle(tiny_bundle: Path) -> Bundle:
    return Bundle.open(tiny_bundle)


@pytest.fixture
def frame(bundle: Bundle) -> NDArray[np.uint8]:
    """Noise [1, H, W, 3] at the model's size."""
    size = (1, *bundle.spec.input_size, 3)
    return np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)


@needs_openvino
@pytest.mark.parametrize("threads", [1, 2, None])
def test_fp32_is_fp32(bundle: Bundle, frame: NDArray[np.uint8], threads: int | None) -> None:
    with (
        open_session(bundle, "fp32", "cpu", 1) as onnxruntime,
        open_session(bundle, "fp32", "openvino", threads) as session,
    ):
        wanted, found = onnxruntime.run(frame), session.run(frame)
        assert found.dtype == np.float32
        # bfloat16 would be off by 2**-9 of the largest logit; these reach 1e5.
        np.testing.assert_allclose(found, wanted, atol=1e-6 * np.abs(wanted).max(), rtol=1e-5)
        assert (session.precision, session.target) == ("fp32", "openvino")
        assert session.spec == bundle.spec
        assert "computed in FP32" in session.description
        if threads is not None:
            assert f"{threads} thread" in session.description


@needs_openvino
def test_a_result_outlives_the_next_run(bundle: Bundle, frame: NDArray[np.uint8]) -> None:
    with open_session(bundle, "fp32", "openvino", 1) as session:
        first = session.run(frame)
        kept = first.copy()
        session.run(255 - frame)
        np.testing.assert_array_equal(first, kept)


@needs_openvino
@pytest.mark.parametrize("shape", [(1, 96, 96, 3), (96, 128, 3), (1, 96, 128, 4)])
def test_a_frame_of_another_size_is_an_error(bundle: Bundle, shape: tuple[int, ...]) -> None:
    with open_session(bundle, "fp32", "openvino", 1) as session:
        with pytest.raises(ValueError, match=r"uint8 \[N, 96, 128, 3\], got uint8"):
            session.run(np.zeros(shape, np.uint8))
        with pytest.raises(ValueError, match="got float32"):
            session.run(np.zeros((1, 96, 128, 3), np.float32))


@needs_openvino
@pytest.mark.parametrize("graph", [b"", b"no graph at all"])
def test_what_is_no_graph_is_refused_in_one_sentence(bundle: Bundle, graph: bytes) -> None:
    with pytest.raises(Refused, match=r"^OpenVINO does not accept the int8 graph: .+\.$"):
        OpenVinoSession(graph, bundle.spec, "int8")


@needs_openvino
def test_a_closed_session_is_done_and_the_core_stays(
    bundle: Bundle, frame: NDArray[np.uint8]
) -> None:
    session = open_session(bundle, "fp32", "openvino", 1)
    core = openvino_session.core()
    session.close()
    with pytest.raises(AttributeError):
        session.run(frame)
    with open_session(bundle, "fp32", "openvino", 1) as again:
        again.run(frame)
    assert openvino_session.core() is core


@pytest.fixture
def without_openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which the package is not installed."""
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.setattr(openvino_session, "core", openvino_session.core.__wrapped__)  # none cached


@pytest.mark.usefixtures("without_openvino")
def test_without_the_package_the_command_that_installs_it_is_told(bundle: Bundle) -> None:
    with pytest.raises(DeviceMissing, match=r"pip install 'openvino>=2025\.1'.*--target cpu"):
        open_session(bundle, "fp32", "openvino")
    open_session(bundle, "fp32", "cpu").close()


INTERRUPTED = """
import signal
import sys
import numpy as np
from pathlib import Path
from engines.bundle import Bundle
from engines.session import open_session

signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
bundle = Bundle.open(Path(sys.argv[1]))
frames = np.zeros((1, *bundle.spec.input_size, 3), np.uint8)
session = open_session(bundle, "fp32", "openvino")
session.run(frames)
if sys.argv[2] == "closed":
    session.close()
try:
    print("ready", flush=True)
    while True:
        if sys.argv[2] == "running":
            session.run(frames)
except KeyboardInterrupt:
    print("interrupted")
"""


@needs_openvino
@pytest.mark.parametrize("when", ["running", "closed"])
def test_ctrl_c_is_a_keyboard_interrupt(tiny_bundle: Path, when: str) -> None:
    command = [sys.executable, "-c", INTERRUPTED, str(tiny_bundle), when]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            os.kill(process.pid, signal.SIGINT)
            rest, _ = process.communicate(timeout=GUARD)
        finally:
            process.kill()
    assert rest == "interrupted\n"
    assert process.returncode == 0


@pytest.mark.slow
@needs_openvino
def test_the_bundled_model_gives_onnxruntime_s_labels(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from export.build_engine import main

    root = tmp_path / "bundle"
    assert main(["--int8", "--target", "openvino", "--out", str(root)]) == 0
    bundle = Bundle.open(root)
    golden = bundle.golden()
    size = bundle.spec.input_size
    for precision, least in (("fp32", 0.9999), ("fp16", 0.998), ("int8", 0.99)):
        with (
            open_session(bundle, precision, "cpu") as onnxruntime,
            open_session(bundle, precision, "openvino") as session,
        ):
            for item in golden:
                frames = item.frame[None]
                wanted, found = (
                    upsample_argmax(s.run(frames)[0], size) for s in (onnxruntime, session)
                )
                assert np.mean(wanted == found) >= least, precision


@needs_openvino
def test_the_package_is_loaded_for_its_target_alone() -> None:
    code = "import sys, engines.session, engines.openvino_session; print('openvino' in sys.modules)"
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert out.stdout == "False\n"
