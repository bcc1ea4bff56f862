"""The `cpu` target: onnxruntime."""

from __future__ import annotations

import os
import threading
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from engines.failures import Refused
from engines.machine import sums_saturate
from engines.spec import ModelSpec

ERRORS_ONLY = 3  # onnxruntime's log level: 0 verbose .. 4 fatal
# onnxruntime quantizes float weights of a convolution between quantized tensors by itself, with one
# scale for all channels (its pull requests 22969, 25673). That undoes what was kept in float for
# its accuracy: with depthwise convolutions kept, labels equal to FP32 fell from 99.1 to 96.8 %;
# with FP16 scales from 98.7 to 80.1 %.
DISABLED_OPTIMIZERS = ("WeightBiasQuantization",)
CUT_SHORT = 1.0  # seconds; what is cut short ends with its layer, at most 40 ms here


class OnnxRuntimeSession:
    """Runs a graph `frames` uint8 [1, H, W, 3] -> `logits` float32 [1, C, h, w] on the CPU."""

    target = "cpu"

    def __init__(
        self, graph: bytes, spec: ModelSpec, precision: str, threads: int | None = None
    ) -> None:
        self.spec = spec
        self.precision = precision
        self.threads = threads or all_cores()
        self._session: Any = load_graph(graph, precision, self.threads)
        self._options = onnxruntime.RunOptions()
        self._running = threading.Lock()

    @property
    def description(self) -> str:
        """One line for people."""
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        return f"{self.precision} on cpu (onnxruntime {onnxruntime.__version__}, {threads})"

    def run(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Logits [N, C, h, w] of frames [N, H, W, 3]; N must be the graph's batch size."""
        self.spec.check_input(frames)
        with self._running:
            (logits,) = self._session.run(["logits"], {"frames": frames}, self._options)
        return np.asarray(logits, np.float32)

    def close(self) -> None:
        """Free the model; a run in another thread is cut short, and waited for.

        A process that ends while a thread of it is inside onnxruntime is aborted.
        """
        self._options.terminate = True
        if self._running.acquire(timeout=CUT_SHORT):
            self._session = None
            self._running.release()

    def __enter__(self) -> OnnxRuntimeSession:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def all_cores() -> int:
    """How many threads run a model unless told otherwise."""
    return os.cpu_count() or 1


def load_graph(
    graph: bytes, what: str, threads: int | None = None, *, pattern: bool = True, pool: bool = True
) -> onnxruntime.InferenceSession:
    """Load a serialised graph for the CPU; one that onnxruntime does not accept is `Refused`.

    Without `pattern` not all tensors of a run are laid out beforehand, in one block for each frame:
    for graphs with hundreds of outputs. Without `pool` a run gives its memory back, too: for those
    who hold dozens of graphs.
    """
    options = onnxruntime.SessionOptions()
    options.enable_mem_pattern, options.enable_cpu_mem_arena = pattern, pool
    options.intra_op_num_threads = threads or all_cores()
    options.log_severity_level = ERRORS_ONLY
    # A worker that waits for work spins by default, through the parts of a run that need one
    # thread and for 27 ms after it: 17 core-ms a frame that the threads which capture, label
    # and draw would need. Sleeping costs 0.2 of 13 ms (two threads, two cores).
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # The fast kernels' 16-bit sums took the bundled model's INT8 logits from 34.4 to 19.0 dB. With
    # VNNI there are none of them, and the exact kernels would take 3.6 times as long.
    if sums_saturate():
        options.add_session_config_entry("session.x64quantprecision", "1")
    try:
        return onnxruntime.InferenceSession(
            graph,
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=list(DISABLED_OPTIMIZERS),
        )
    except Exception as error:  # onnxruntime raises a dozen classes of its own, all Exception
        reason = str(error).splitlines()[0]
        raise Refused(f"onnxruntime does not accept the {what} graph: {reason}") from error
