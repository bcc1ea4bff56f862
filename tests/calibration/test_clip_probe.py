"""The probe: the engine's own logits, and counts of codes that a slow twin counts again."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper

from calibration.graphs.clip_probe import LAYERS, probe_graph, telling_layers
from calibration.graphs.execution import load
from calibration.graphs.qdq import quantize
from calibration.ranges.observe import observe
from engines.clip_probe import EVERY, Clip, ProbedSession, read_layers
from engines.failures import Refused
from engines.ranges import Ranges, RangesKey
from engines.session import Session
from engines.spec import ModelSpec

Frames = list[NDArray[np.uint8]]


@dataclass
class Engine:
    """A session that is not there for probed frames."""

    graph: ModelProto
    runs: int = 0
    precision: str = "int8"
    target: str = "cpu"
    description: str = "int8 on cpu"

    def __post_init__(self) -> None:
        self._session = load(self.graph)

    @property
    def spec(self) -> ModelSpec:
        raise NotImplementedError

    def run(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.runs += 1
        (logits,) = self._session.run(None, {"frames": frames})
        return np.asarray(logits, np.float32)

    def close(self) -> None: ...

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *error: object) -> None: ...


def ranges_of(model: ModelProto, frames: Frames, shrink: float = 1.0) -> Ranges:
    """Ranges of the extremes, or of a part of them."""
    key = RangesKey("model", "spec", "preprocessing", "frames", "minmax")
    tensors = {
        name: (low * shrink, high * shrink) for name, (low, high) in observe(model, frames).items()
    }
    return Ranges(key, len(frames), tensors, clipped=dict.fromkeys(tensors, 0.001))


def probed(
    model: ModelProto, ranges: Ranges, frames: Frames
) -> tuple[list[NDArray[np.float32]], list[dict[str, Clip]], Engine]:
    """Logits of `EVERY` frames, the reports, and the engine that ran all but one of them."""
    graph = quantize(model, ranges.tensors, "u8")
    engine, reports = Engine(graph), list[dict[str, Clip]]()
    data = probe_graph(graph, model, ranges).SerializeToString()
    with ProbedSession(engine, data, lambda layers: reports.append(dict(layers))) as session:
        results = [session.run(frames[i % len(frames)][None]) for i in range(EVERY)]
    return results, reports, engine


def test_a_probe_gives_the_engines_logits(miniature: ModelProto, frames: Frames) -> None:
    ranges = ranges_of(miniature, frames)
    results, reports, engine = probed(miniature, ranges, frames)
    assert engine.runs == EVERY - 1
    assert len(reports) == 1
    last = frames[(EVERY - 1) % len(frames)][None]
    assert np.array_equal(results[-1], engine.run(last))


def test_codes_at_the_edges_are_counted(miniature: ModelProto, frames: Frames) -> None:
    ranges = ranges_of(miniature, frames, shrink=0.5)
    _, (report,), engine = probed(miniature, ranges, frames)
    last = frames[(EVERY - 1) % len(frames)]
    twin = count_slowly(miniature, engine.graph, ranges, last)
    for name, clip in report.items():
        assert clip.share == pytest.approx(twin[name], abs=2e-3)
        assert clip.expected == 0.001
    assert max(clip.share for clip in report.values()) > 0.02
    _, (calm,), _ = probed(miniature, ranges_of(miniature, frames), frames)
    assert all(calm[name].share <= report[name].share for name in report)


def count_slowly(
    model: ModelProto, quantized: ModelProto, ranges: Ranges, frame: NDArray[np.uint8]
) -> dict[str, float]:
    """Code by code, from a run without onnxruntime's optimizations."""
    exposed = ModelProto()
    exposed.CopyFrom(quantized)
    layers = telling_layers(quantized, model, ranges)
    for output in layers:
        exposed.graph.output.append(helper.make_tensor_value_info(output, TensorProto.UINT8, None))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        exposed.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    codes = session.run(list(layers), {"frames": frame[None]})
    return {
        layer.name: sum(int(code) in layer.edges for code in values.ravel()) / values.size
        for layer, values in zip(layers.values(), codes, strict=True)
    }


def test_layers_that_saturate_by_design_are_left_out(miniature: ModelProto, frames: Frames) -> None:
    ranges = ranges_of(miniature, frames)
    graph = quantize(miniature, ranges.tensors, "u8")
    layers = {layer.name: layer for layer in telling_layers(graph, miniature, ranges).values()}
    assert not {name for name in layers if name.endswith("Clip")}
    assert "logits" not in layers
    assert layers["residual/Add"].edges == (0, 255)
    assert layers["branch/Relu"].edges == (255,)

    probe = probe_graph(graph, miniature, ranges)
    metadata = {item.key: item.value for item in probe.metadata_props}
    chosen = [layer.name for layer in read_layers(metadata).values()]
    assert len(chosen) == LAYERS
    order = list(layers)
    assert (chosen[0], chosen[-1]) == (order[0], order[-1])
    assert chosen == sorted(chosen, key=order.index)
    assert [output.name for output in graph.graph.output] == ["logits"]  # itself unchanged


def test_a_graph_that_tells_nothing_is_refused(miniature: ModelProto, frames: Frames) -> None:
    ranges = ranges_of(miniature, frames)
    with pytest.raises(Refused, match="no layer of this INT8 graph tells of clipping"):
        probe_graph(miniature, miniature, ranges)
    with pytest.raises(Refused, match="probe is not valid"):
        read_layers({})
    with pytest.raises(Refused, match="probe is not valid"):
        read_layers({"deeplab.probe": json.dumps({"codes": {"name": "a"}})})
