"""Running a graph on this machine's CPU while building."""

from __future__ import annotations

import onnxruntime
from onnx import ModelProto

from engines.onnxruntime_session import load_graph

THREADS = 2


def load(model: ModelProto, lean: bool = False) -> onnxruntime.InferenceSession:
    """An onnxruntime session of a graph in memory.

    A `lean` one does not lay out all tensors of a run beforehand, in a block for each frame.
    """
    return load_graph(model.SerializeToString(), "calibration", THREADS, pattern=not lean)
