"""A real Triton server on what `triton_repository.py` writes, called over HTTP and gRPC.

TRITON_SERVER names the binary. NVIDIA's wheel has one that needs no GPU (55 MB; docs/triton.md):

    pip download --no-deps nvidia-pytriton==0.7.0 && unzip nvidia_pytriton-*.whl -d triton
    export TRITON_SERVER=$PWD/triton/pytriton/tritonserver/bin/tritonserver
"""

from __future__ import annotations

import importlib
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engines.bundle import Bundle
from engines.preprocess import fit_frame
from engines.session import open_session
from export import triton_repository
from runtime.refiner import choose_crf
from scenes.street import StreetCamera

pytestmark = pytest.mark.slow

BUNDLE = Path(__file__).resolve().parents[2] / "artifacts/camvid-mobilenetv2"
PATIENCE = 600.0  # seconds for a busy machine to start a server
CRF = "fast"
SIZE = (270, 480)


@dataclass(frozen=True)
class Server:
    """Addresses of a running server."""

    http: str
    grpc: str


@pytest.fixture(scope="module")
def binary() -> Path:
    named = os.environ.get("TRITON_SERVER")
    if not named:
        pytest.skip("TRITON_SERVER is not set; docs/triton.md tells where to get a server")
    return Path(named).absolute()


@pytest.fixture(scope="module")
def server(binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Two models of the python backend: `one` takes a frame, `several` up to four."""
    models, log = tmp_path_factory.mktemp("triton") / "models", Path()
    for name, most in (("one", "1"), ("several", "4")):
        words = ["--bundle", str(BUNDLE), "--out", str(models), "--backend", "python"]
        words += ["--precision", "int8", "--crf", CRF, "--name", name, "--max-batch", most]
        assert triton_repository.main(words) == 0
        add_stub(binary, models / name)
    ports = {name: free_port() for name in ("http", "grpc", "metrics")}
    flags = [f"--{name}-port={port}" for name, port in ports.items()]
    flags += [f"--{name}-address=127.0.0.1" for name in ports]
    flags += [f"--model-repository={models}", f"--backend-directory={binary.parents[1]}/backends"]
    # The backend's Python is the one that is first on the path.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    log = models.parent / "log"
    with (
        log.open("wb") as file,
        subprocess.Popen(
            [binary, *flags], env=os.environ | {"PATH": path}, stdout=file, stderr=file
        ) as process,
    ):
        try:
            wait_until_ready(ports["http"], process, log)
            yield Server(f"127.0.0.1:{ports['http']}", f"127.0.0.1:{ports['grpc']}")
        finally:
            process.terminate()
    assert "Traceback" not in log.read_text()


def add_stub(binary: Path, model: Path) -> None:
    """NVIDIA's wheel has one of the backend for each Python; a container has its own in place."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    name = "triton_python_backend_stub"
    stub = binary.parents[1] / "python_backend_stubs" / version / name
    if stub.exists():
        for program in (stub, binary):
            program.chmod(0o755)  # `unzip` does not know
        (model / name).symlink_to(stub)


def free_port() -> int:
    with socket.socket() as line:
        line.bind(("127.0.0.1", 0))
        return int(line.getsockname()[1])


def wait_until_ready(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/health/ready"):
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    raise AssertionError(log.read_text())


@pytest.fixture(scope="module")
def frames() -> NDArray[np.uint8]:
    """Three frames of a street, smaller than any camera's."""
    camera = StreetCamera(SIZE, 1)
    return np.stack([camera.scene(index).frame for index in (0, 30, 60)])


@pytest.fixture(scope="module")
def expected(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Labels of a run in this process."""
    bundle = Bundle.open(BUNDLE)
    refiner, _ = choose_crf(CRF, bundle.spec)
    assert refiner is not None
    with open_session(bundle, "int8") as session:
        inputs = [fit_frame(frame, bundle.spec.input_size)[None] for frame in frames]
        logits = [session.run(frame)[0] for frame in inputs]
    pairs = zip(frames, logits, strict=True)
    return np.stack([refiner.refine(frame, scores) for frame, scores in pairs])


@pytest.fixture(params=["http", "grpc"])
def client(server: Server, request: pytest.FixtureRequest) -> Iterator[Any]:
    """The client's module, and the client: both protocols have the same calls."""
    module = pytest.importorskip(
        f"tritonclient.{request.param}", reason="pip install 'tritonclient[grpc,http]'"
    )
    client = module.InferenceServerClient(getattr(server, request.param))
    yield lambda model, frames: ask(module, client, model, frames)
    client.close()


def ask(module: Any, client: Any, model: str, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    given = module.InferInput("frames", list(frames.shape), "UINT8")
    given.set_data_from_numpy(frames)
    answer: NDArray[np.uint8] = client.infer(model, [given]).as_numpy("labels")
    return answer


def test_labels_of_a_frame_are_those_of_a_local_run(
    client: Any, frames: NDArray[np.uint8], expected: NDArray[np.uint8]
) -> None:
    for frame, labels in zip(frames, expected, strict=True):
        np.testing.assert_array_equal(client("one", frame), labels)


def test_labels_of_several_frames_are_those_of_each(
    client: Any, frames: NDArray[np.uint8], expected: NDArray[np.uint8]
) -> None:
    np.testing.assert_array_equal(client("several", frames), expected)
    np.testing.assert_array_equal(client("several", frames[:1]), expected[:1])


def test_what_is_no_frame_is_its_own_error(
    client: Any, frames: NDArray[np.uint8], expected: NDArray[np.uint8]
) -> None:
    failure = importlib.import_module("tritonclient.utils").InferenceServerException
    with pytest.raises(failure, match="frames"):
        client("one", frames[0, :, :, :2])
    np.testing.assert_array_equal(client("one", frames[0]), expected[0])
