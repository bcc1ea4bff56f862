"""The `openvino` target: OpenVINO on the CPU, on the bundle's ONNX graphs."""

from __future__ import annotations

import importlib.util
import threading
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.failures import DeviceMissing, Refused
from engines.spec import ModelSpec

INSTALL = "pip install 'openvino>=2025.1'"
LONGEST_RUN = 1.0  # seconds that closing waits for one
WORDS = {"f32": "FP32", "f16": "FP16"}  # OpenVINO's name of an element type -> ours


class OpenVinoSession:
    """Runs a graph `frames` uint8 [1, H, W, 3] -> `logits` float32 [1, C, h, w] on the CPU.

    `threads` None leaves their number to OpenVINO: one for each physical core.
    """

    target = "openvino"

    def __init__(
        self, graph: bytes, spec: ModelSpec, precision: str, threads: int | None = None
    ) -> None:
        self.spec = spec
        self.precision = precision
        model = compiled(graph, precision, threads)
        self.threads = int(model.get_property("INFERENCE_NUM_THREADS"))
        self.arithmetic = str(model.get_property("INFERENCE_PRECISION_HINT").to_string())
        self._request = model.create_infer_request()
        self._running = threading.Lock()

    @property
    def description(self) -> str:
        """One line for people."""
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        what = "float layers" if self.precision in ("int8", "mixed") else "computed"
        return (
            f"{self.precision} on openvino (OpenVINO {version()}, {threads}, "
            f"{what} in {WORDS.get(self.arithmetic, self.arithmetic)})"
        )

    def run(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Logits [N, C, h, w] of frames [N, H, W, 3]; N must be the graph's batch size."""
        self.spec.check_input(frames)
        with self._running:
            self._request.infer([frames])
            # A copy: the next run writes where this one did.
            return np.array(self._request.get_output_tensor(0).data, np.float32)

    def close(self) -> None:
        """Free the model; a run in another thread is waited for."""
        if self._running.acquire(timeout=LONGEST_RUN):
            self._request = None
            self._running.release()

    def __enter__(self) -> OpenVinoSession:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def compiled(graph: bytes, precision: str, threads: int | None) -> Any:
    """A serialised graph compiled for the CPU; one that OpenVINO does not accept is `Refused`."""
    settings: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": arithmetic_of(precision),
        # Pinned to a core, a worker waits for whoever else runs there, and the others for it: the
        # threads of a stream that decode, label and draw, or another program. Beside a training on
        # both cores: 23.9 core-ms and 80 ms a frame pinned, 20.9 and 74 free (two threads).
        "ENABLE_CPU_PINNING": False,
    }
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = threads
    try:
        return core().compile_model(core().read_model(graph), "CPU", settings)
    except RuntimeError as error:
        reason = next(line for line in reversed(str(error).splitlines()) if line.strip())
        raise Refused(f"OpenVINO does not accept the {precision} graph: {reason}") from error


def arithmetic_of(precision: str) -> str:
    """What computes the layers that are not quantized: FP32, as the name of the precision says.

    Left alone, OpenVINO takes bfloat16 wherever the CPU has it, for FP32 graphs and INT8 ones: 8
    significant bits that nobody asked for (99.74 % of CamVid's pixels with FP32's label). FP16 is
    computed as such where the CPU has instructions for it, else in FP32.
    """
    half = "FP16" in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return "f16" if precision == "fp16" and half else "f32"


def installed() -> bool:
    """Whether the package is there, without loading it."""
    return importlib.util.find_spec("openvino") is not None


@cache
def core() -> Any:
    """OpenVINO's entry, one for the process, never freed; `DeviceMissing` without the package.

    With the last core OpenVINO 2026.4 unloads its CPU plugin but leaves the plugin's handler of
    SIGINT installed, and the next Ctrl-C ends in a segmentation fault.
    """
    try:
        import openvino
    except ImportError as error:
        raise DeviceMissing(
            f"target openvino needs OpenVINO ({error}): {INSTALL}, or use --target cpu"
        ) from None
    return openvino.Core()


def version() -> str:
    """OpenVINO's, without the build's number."""
    import openvino

    return str(openvino.__version__).split("-")[0]
