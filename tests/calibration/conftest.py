"""A network of a few kilobytes with everything a DeepLab has, for the tests of quantization."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from calibration.frames import CalibrationFrames
from calibration.ranges.tally import Statistics
from engines.spec import ModelSpec
from scenes.dataset import Colour, Scene

SIZE = (32, 48)
CLASSES = 5


@pytest.fixture(autouse=True)
def no_openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports have the same rows wherever tests run; see `with_openvino`."""
    monkeypatch.setattr("calibration.reporting.candidates.installed", lambda: False)


@pytest.fixture
def with_openvino(no_openvino: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports have OpenVINO's rows, too; without the package the test is skipped."""
    pytest.importorskip("openvino")
    monkeypatch.setattr("calibration.reporting.candidates.installed", lambda: True)


class Miniature:
    """Writes nodes one after the other; each tensor bears the name of its node."""

    def __init__(self) -> None:
        self.random = np.random.default_rng(7)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[TensorProto] = []

    def constant(self, name: str, value: NDArray[Any]) -> str:
        self.weights.append(numpy_helper.from_array(value, name))
        return name

    def add(self, kind: str, name: str, *inputs: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [name], name, **attributes))
        return name

    def conv(
        self, name: str, data: str, channels: tuple[int, int], kernel: int = 1, **options: Any
    ) -> str:
        inputs, outputs = channels
        shape = (outputs, inputs // options.get("group", 1), kernel, kernel)
        weight = self.random.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape).astype(np.float32)
        bias = self.random.normal(0, 0.1, outputs).astype(np.float32)
        names = self.constant(f"{name}.weight", weight), self.constant(f"{name}.bias", bias)
        reach = options.get("dilations", [1])[0] * (kernel // 2)
        return self.add("Conv", f"{name}/Conv", data, *names, pads=[reach] * 4, **options)

    def images(self) -> str:
        """Frames of bytes as planes of [-1, 1]."""
        frames = self.add("Cast", "Cast", "frames", to=TensorProto.FLOAT)
        planes = self.add("Transpose", "Transpose", frames, perm=[0, 3, 1, 2])
        level = self.constant("level", np.full((3, 1, 1), 127.5, np.float32))
        return self.add("Div", "Div", self.add("Sub", "Sub", planes, level), level)

    def relu6(self, name: str, data: str) -> str:
        if name == "stem":
            self.constant("zero", np.array(0, np.float32))
            self.constant("six", np.array(6, np.float32))
        return self.add("Clip", f"{name}/Clip", data, "zero", "six")

    def relu(self, name: str, data: str) -> str:
        return self.add("Relu", f"{name}/Relu", data)

    def model(self, height: int, width: int) -> ModelProto:
        """The network so far, with its last node's result as the logits [1, 5, height, width]."""
        self.nodes[-1].output[0] = "logits"
        size = [1, CLASSES, height, width]
        graph = helper.make_graph(
            self.nodes,
            "miniature",
            [helper.make_tensor_value_info("frames", TensorProto.UINT8, [1, *SIZE, 3])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, size)],
            self.weights,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
        onnx.checker.check_model(model, full_check=True)
        return model


@pytest.fixture(scope="session")
def miniature() -> ModelProto:
    """uint8 [1, 32, 48, 3] -> logits [1, 5, 8, 12]: backbone with a residual, ASPP, decoder."""
    net = Miniature()
    images = net.images()
    x = net.relu6("stem", net.conv("stem", images, (3, 16), 3, strides=[2, 2]))
    x = net.relu6("depth", net.conv("depth", x, (16, 16), 3, group=16, strides=[2, 2]))
    low = net.conv("point", x, (16, 24))
    x = net.relu6("wide", net.conv("wide", low, (24, 48)))
    x = net.relu6("shrink", net.conv("shrink", x, (48, 48), 3, group=48, strides=[2, 2]))
    skip = net.conv("narrow", x, (48, 24))
    x = net.relu6("expand", net.conv("expand", skip, (24, 48)))
    x = net.relu6("atrous", net.conv("atrous", x, (48, 48), 3, group=48, dilations=[2, 2]))
    x = net.add("Add", "residual/Add", net.conv("linear", x, (48, 24)), skip)
    axes = net.constant("axes", np.array([2, 3], np.int64))
    pooled = net.add("ReduceMean", "pooling/ReduceMean", x, axes)
    pooled = net.relu("pooling", net.conv("pooling", pooled, (24, 16)))
    shape = net.constant("shape", np.array([1, 16, 4, 6], np.int64))
    branches = [net.add("Expand", "pooling/Expand", pooled, shape)]
    branches.append(net.relu("branch", net.conv("branch", x, (24, 16))))
    x = net.add("Concat", "aspp/Concat", *branches, axis=1)
    x = net.relu("project", net.conv("project", x, (32, 24)))
    size = net.constant("size", np.array([1, 24, 8, 12], np.int64))
    x = net.add("Resize", "decoder/Resize", x, "", "", size, mode="linear")
    detail = net.relu("detail", net.conv("detail", low, (24, 16)))
    x = net.add("Concat", "decoder/Concat", x, detail, axis=1)
    x = net.relu("refine", net.conv("refine", x, (40, 32)))
    net.conv("classifier", x, (32, CLASSES))
    return net.model(8, 12)


@pytest.fixture
def chain() -> Callable[[str], ModelProto]:
    """Activation -> a network of its own: frames, dense "stem", depthwise "depth", "classifier"."""

    def build(activation: str) -> ModelProto:
        net = Miniature()
        activate = getattr(net, activation)
        x = activate("stem", net.conv("stem", net.images(), (3, 16), 3, strides=[2, 2]))
        x = activate("depth", net.conv("depth", x, (16, 16), 3, group=16))
        net.conv("classifier", x, (16, CLASSES))
        return net.model(SIZE[0] // 2, SIZE[1] // 2)

    return build


@pytest.fixture(scope="session")
def frames() -> list[NDArray[np.uint8]]:
    """Eight frames [32, 48, 3]: smooth ramps with some noise, so that channels differ."""
    random = np.random.default_rng(3)
    ramp = np.linspace(0, 255, SIZE[1])[None, :, None] * random.uniform(0.2, 1, (8, 1, 1, 3))
    noise = random.normal(0, 20, (8, *SIZE, 3))
    return list(np.clip(ramp + noise, 0, 255).astype(np.uint8))


class Listed:
    """A dataset of given frames."""

    def __init__(self, frames: list[NDArray[np.uint8]]) -> None:
        self.classes = tuple("abcde")
        self.palette: tuple[Colour, ...] = ((0, 0, 0),) * CLASSES
        self.frames = frames

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Scene:
        frame = self.frames[index]
        return Scene(str(index), frame, np.zeros(frame.shape[:2], np.uint8))

    def __iter__(self) -> Iterator[Scene]:
        return (self[index] for index in range(len(self)))


@pytest.fixture(scope="session")
def miniature_spec() -> ModelSpec:
    """The spec of `miniature`."""
    middle = (127.5,) * 3
    names = tuple("abcde")
    return ModelSpec("miniature", "miniature", names, ((0, 0, 0),) * CLASSES, SIZE, middle, middle)


@pytest.fixture(scope="session")
def calibration_frames() -> Callable[[list[NDArray[np.uint8]]], CalibrationFrames]:
    """Given frames as those of a dataset."""
    return lambda frames: CalibrationFrames(Listed(frames), SIZE, range(len(frames)))


@pytest.fixture(scope="session")
def tally() -> Callable[..., Statistics]:
    """Frames of one tensor -> its statistics, through both passes."""

    def count(*frames: NDArray[np.float32]) -> Statistics:
        statistics = Statistics()
        for values in frames:
            statistics.see(values)
        for values in frames:
            statistics.count(values)
        return statistics

    return count


@pytest.fixture(scope="session")
def without_times() -> Callable[[dict[str, Any]], dict[str, Any]]:
    """A report -> what two runs of it must have in common."""

    def strip(report: dict[str, Any]) -> dict[str, Any]:
        rows = [
            {k: v for k, v in row.items() if k[:4] not in ("p50_", "p99_")}
            for row in report["rows"]
        ]
        machine = {k: v for k, v in report["machine"].items() if k != "load"}
        kept = {k: v for k, v in report.items() if k not in ("measured_at", "verdict")}
        return {**kept, "rows": rows, "machine": machine}

    return strip
