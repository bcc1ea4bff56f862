"""Running a graph on this machine's CPU while building: onnxruntime, two threads, no chatter."""

from __future__ import annotations

import onnxruntime
from onnx import ModelProto

from engines.onnxruntime_session import DISABLED_OPTIMIZERS, ERRORS_ONLY

THREADS = 2


def load(model: ModelProto, lean: bool = False) -> onnxruntime.InferenceSession:
    """An onnxruntime session of a graph in memory.

    A `lean` one does not lay out all tensors of a run beforehand, in a block for each frame.
    """
    options = onnxruntime.SessionOptions()
    options.enable_mem_pattern = not lean
    options.intra_op_num_threads = THREADS
    options.log_severity_level = ERRORS_ONLY
    return onnxruntime.InferenceSession(
        model.SerializeToString(),
        options,
        providers=["CPUExecutionProvider"],
        disabled_optimizers=list(DISABLED_OPTIMIZERS),
    )
