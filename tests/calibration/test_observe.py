"""Calibration ranges: right, streaming, reproducible, and never taken from rubbish."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper

from calibration.graphs.execution import load
from calibration.ranges.observe import collect, expose, observe, quantizable, split, tensor_bytes
from calibration.ranges.tally import HALF
from calibration.ranges.thresholds import PERCENTILE
from calibration.scheme import METHODS
from engines.failures import Refused

Frames = list[NDArray[np.uint8]]


def activations(model: ModelProto, frames: Frames) -> dict[str, NDArray[np.float32]]:
    """The slow twin: every value of every frame at once."""
    names = quantizable(model)
    session = load(expose(model, names))
    runs = [session.run(names, {"frames": frame[None]}) for frame in frames]
    return {name: np.stack([run[i] for run in runs]) for i, name in enumerate(names)}


def test_minmax_is_the_extremes_over_all_frames(miniature: ModelProto, frames: Frames) -> None:
    expected = {
        name: (float(values.min()), float(values.max()))
        for name, values in activations(miniature, frames).items()
    }
    assert observe(miniature, frames) == expected


def test_percentile_cuts_both_tails_to_within_a_bin(miniature: ModelProto, frames: Frames) -> None:
    ranges = observe(miniature, frames, "percentile")
    tail = (100 - PERCENTILE) / 2
    for name, values in activations(miniature, frames).items():
        step = np.abs(values).max() / HALF
        expected = np.percentile(values, [tail, 100 - tail], method="inverted_cdf")
        assert np.abs(np.array(ranges[name]) - expected).max() <= 1.01 * step, name


@pytest.mark.parametrize("method", METHODS)
def test_the_order_of_the_frames_does_not_change_a_bit(
    miniature: ModelProto, frames: Frames, method: str
) -> None:
    assert observe(miniature, frames, method) == observe(miniature, frames[::-1], method)


def test_only_what_may_be_quantized_is_observed(miniature: ModelProto) -> None:
    names = quantizable(miniature)
    assert "stem/Clip" in names
    assert "stem/Conv" not in names  # read by its Clip alone
    assert "point/Conv" in names  # a linear bottleneck
    assert {"residual/Add", "aspp/Concat", "decoder/Resize", "Div", "logits"} <= set(names)
    assert not {"Cast", "Transpose", "Sub"} & set(names)


def test_other_tensors_can_be_asked_for(miniature: ModelProto, frames: Frames) -> None:
    (low, high) = observe(miniature, frames, tensors=["stem/Conv"])["stem/Conv"]
    assert low < 0
    assert high > 0


class Endless(Sequence[NDArray[np.uint8]]):
    """`count` frames, made one at a time."""

    def __init__(self, length: int) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> NDArray[np.uint8]:  # type: ignore[override]
        if index >= self.length:
            raise IndexError(index)
        return np.random.default_rng(index).integers(0, 256, (32, 48, 3), np.uint8)


def peak_memory(model: ModelProto, count: int) -> int:
    tracemalloc.start()
    observe(model, Endless(count), "percentile")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_memory_does_not_grow_with_the_frames(miniature: ModelProto) -> None:
    assert peak_memory(miniature, 48) < 1.2 * peak_memory(miniature, 3)


def test_every_value_of_every_frame_is_counted(miniature: ModelProto, frames: Frames) -> None:
    values = activations(miniature, frames)
    for name, statistics in collect(miniature, frames).items():
        assert statistics.counts.sum() == values[name].size, name
        far = np.abs(values[name]).max()
        twin = np.histogram(values[name], 64, (-far, far))[0]
        assert np.abs(statistics.counts.reshape(64, -1).sum(axis=1) - twin).max() <= 4, name


def test_tensors_that_do_not_fit_in_memory_at_once_are_taken_in_parts(
    miniature: ModelProto, frames: Frames, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = observe(miniature, frames, "mse")
    monkeypatch.setattr("calibration.ranges.observe.MEMORY", 20_000)
    sizes = tensor_bytes(miniature)
    assert len(split(list(whole), sizes)) > 5
    parts = observe(miniature, frames, "mse")
    assert list(parts) == list(whole)
    for name, span in parts.items():
        # Convolutions that are exposed are not fused with what follows: another rounding.
        assert span == pytest.approx(whole[name], rel=1e-3, abs=1e-4), name


def test_parts_are_as_large_as_memory_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("calibration.ranges.observe.MEMORY", 10)
    sizes = {"a": 4, "b": 6, "c": 1, "d": 99, "e": 5, "f": 5}
    assert split(list(sizes), sizes) == [["a", "b"], ["c"], ["d"], ["e", "f"]]


def test_sizes_are_those_of_the_values(miniature: ModelProto, frames: Frames) -> None:
    sizes = tensor_bytes(miniature)
    for name, values in activations(miniature, frames[:1]).items():
        assert sizes[name] == values.nbytes, name


LARGE = """
import sys
from pathlib import Path
import numpy as np
import onnx
from calibration.graphs.execution import load
from calibration.ranges.observe import collect, tensor_bytes, quantizable
from calibration.scheme import METHODS
from calibration.ranges.thresholds import find_range

def peak():
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1000

model = onnx.load(sys.argv[1])
random = np.random.default_rng(0)
frames = [random.integers(0, 256, (360, 480, 3), np.uint8) for _ in range(int(sys.argv[2]))]
load(model).run(None, {"frames": frames[0][None]})
before = peak()
for item in collect(model, frames).values():
    for method in METHODS:
        find_range(item, method)
sizes = tensor_bytes(model)
print(peak() - before, sum(sizes[name] for name in quantizable(model)) / 1e6)
"""


@pytest.mark.slow
def test_real_memory_stays_below_300_mb_whatever_the_network(tmp_path: Path) -> None:
    """36 layers of 64 channels at half of 480x360: 398 MB of tensors, as in an Xception."""
    helper = onnx.helper
    random = np.random.default_rng(1)
    weights = [np.full((64, 3, 1, 1), 0.01)] + [random.normal(0, 0.2, (64, 64, 1, 1))] * 36
    nodes = [
        helper.make_node("Cast", ["frames"], ["pixels"], "cast", to=onnx.TensorProto.FLOAT),
        helper.make_node("Transpose", ["pixels"], ["x0"], "planes", perm=[0, 3, 1, 2]),
    ]
    for layer in range(len(weights)):
        inputs, stride = [f"x{layer}", f"w{layer}"], 1 if layer else 2
        nodes.append(helper.make_node("Conv", inputs, [f"y{layer}"], strides=[stride] * 2))
        nodes.append(helper.make_node("Relu", [f"y{layer}"], [f"x{layer + 1}"]))
    graph = helper.make_graph(
        nodes,
        "large",
        [helper.make_tensor_value_info("frames", onnx.TensorProto.UINT8, [1, 360, 480, 3])],
        [helper.make_tensor_value_info("x37", onnx.TensorProto.FLOAT, [1, 64, 180, 240])],
        [numpy_helper.from_array(w.astype(np.float32), f"w{i}") for i, w in enumerate(weights)],
    )
    opsets = [helper.make_opsetid("", 19)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), tmp_path / "l.onnx")
    peaks = []
    for count in ("2", "6"):
        arguments = [sys.executable, "-c", LARGE, str(tmp_path / "l.onnx"), count]
        printed = subprocess.run(arguments, check=True, capture_output=True, text=True).stdout
        extra, exposed = map(float, printed.split())
        assert exposed > 380
        peaks.append(extra)
    assert max(peaks) < 300
    assert peaks[1] - peaks[0] < 40  # the pool has found its size after some frames


def test_no_frames_are_refused(miniature: ModelProto) -> None:
    with pytest.raises(Refused, match="no calibration frame"):
        observe(miniature, [])


def test_flat_frames_are_refused(miniature: ModelProto) -> None:
    flat = [np.full((32, 48, 3), grey, np.uint8) for grey in (0, 0, 17)]
    with pytest.raises(Refused, match="flat colour"):
        observe(miniature, flat)


def test_one_flat_frame_among_others_is_fine(miniature: ModelProto, frames: Frames) -> None:
    black = np.zeros((32, 48, 3), np.uint8)
    assert observe(miniature, [black, *frames]).keys() == observe(miniature, frames).keys()


def test_frames_of_another_size_are_refused(miniature: ModelProto, frames: Frames) -> None:
    with pytest.raises(Refused, match=r"\[16, 48, 3\].*\[32, 48, 3\]"):
        observe(miniature, [*frames, frames[0][:16]])


def test_a_diverged_network_is_refused_with_the_tensor(
    miniature: ModelProto, frames: Frames
) -> None:
    broken = ModelProto()
    broken.CopyFrom(miniature)
    for tensor in broken.graph.initializer:
        if tensor.name == "linear.bias":
            tensor.CopyFrom(numpy_helper.from_array(np.full(24, np.nan, np.float32), tensor.name))
    with pytest.raises(Refused, match="linear/Conv is not finite on calibration frame 0"):
        observe(broken, frames)


def test_an_unknown_method_is_an_error(miniature: ModelProto, frames: Frames) -> None:
    with pytest.raises(ValueError, match=r"qat.*known: minmax, average, percentile"):
        observe(miniature, frames, "qat")
