"""What a graph costs: milliseconds where they can be measured, else a model that says so.

A probe is any function from a graph to milliseconds. The one here times onnxruntime's CPU; one for
TensorRT, which builds a plan and times it, is injected from `export`, where there is a GPU.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto

from calibration.graphs.wiring import Wiring, quantized_convolutions
from engines.onnxruntime_session import OnnxRuntimeSession
from engines.spec import ModelSpec

Probe = Callable[[ModelProto], float]

ROUNDS = 20
WARM_UP = 3
MILLISECONDS = "ms"
SHARE = "share of multiply-adds in float"  # a model of the cost, not a time


class CpuProbe:
    """Times graphs on onnxruntime as the device runs them, each interleaved with the INT8 graph.

    A machine that is busier or hotter than before slows both, so their ratio is what is measured;
    milliseconds are that ratio times the INT8 graph's median when the probe was made.

    Args:
        int8: The graph with all of INT8; every other one is timed in turn with it.
        spec: The model's spec.
        frame: A frame [H, W, 3] at the model's input size.
        rounds: Timed runs of each graph; their median counts.
    """

    def __init__(
        self, int8: ModelProto, spec: ModelSpec, frame: NDArray[np.uint8], rounds: int = ROUNDS
    ) -> None:
        self._spec, self._batch, self._rounds = spec, frame[None], rounds
        self._int8 = self._session(int8)
        (self._scale,) = self._medians(self._int8)

    def __call__(self, graph: ModelProto) -> float:
        """Milliseconds per frame, only the session on the clock."""
        with self._session(graph) as session:
            own, int8 = self._medians(session, self._int8)
        return self._scale * own / int8

    def _session(self, graph: ModelProto) -> OnnxRuntimeSession:
        return OnnxRuntimeSession(graph.SerializeToString(), self._spec, "candidate")

    def _medians(self, *sessions: OnnxRuntimeSession) -> list[float]:
        times: list[list[float]] = [[] for _ in sessions]
        for turn in range(WARM_UP + self._rounds):
            for step in range(len(sessions)):
                which = (turn + step) % len(sessions)  # nobody always runs behind the same one
                started = time.perf_counter()
                sessions[which].run(self._batch)
                times[which].append((time.perf_counter() - started) * 1e3)
        return [statistics.median(values[WARM_UP:]) for values in times]

    def close(self) -> None:
        """Free the INT8 graph."""
        self._int8.close()

    def __enter__(self) -> CpuProbe:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class FloatShare:
    """The share of the convolutions' multiply-adds that a graph computes in float, 0 to 1."""

    def __init__(self, float_graph: ModelProto) -> None:
        self.multiply_adds = multiply_adds(float_graph)

    def __call__(self, graph: ModelProto) -> float:
        """For a float or Q/DQ graph with the float graph's names of nodes."""
        integer = quantized_convolutions(graph)
        inside = sum(count for name, count in self.multiply_adds.items() if name in integer)
        return 1 - inside / sum(self.multiply_adds.values())


def multiply_adds(model: ModelProto) -> dict[str, int]:
    """Convolution's node name -> multiply-adds, from the shapes in the graph."""
    inferred = onnx.shape_inference.infer_shapes(model).graph
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*inferred.value_info, *inferred.output)
    }
    wiring = Wiring(model)
    counts = {}
    for node in wiring.nodes:
        if node.op_type == "Conv":
            weight = wiring.shape(node.input[1])
            counts[node.name] = math.prod(weight) * math.prod(shapes[node.output[0]][2:])
    return counts
