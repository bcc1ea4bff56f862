"""The exported graph: its contract, its names, its silence about this machine, and its numbers."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Protocol

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, numpy_helper
from torch import nn

from engines.failures import GateFailed, Refused
from engines.spec import ModelSpec
from export.contract import require_contract, shape_of
from export.graph import OPSET, export_graph
from export.parity import compare, measure
from train.deployable import Deployable


class Small(Protocol):
    model: nn.Module
    spec: ModelSpec
    graph: ModelProto
    frames: list[NDArray[np.uint8]]


def test_frames_go_in_and_stride_four_logits_come_out(small: Small) -> None:
    (frames,), (logits,) = small.graph.graph.input, small.graph.graph.output
    assert (frames.name, frames.type.tensor_type.elem_type) == ("frames", TensorProto.UINT8)
    assert shape_of(frames) == (1, 64, 96, 3)
    assert (logits.name, logits.type.tensor_type.elem_type) == ("logits", TensorProto.FLOAT)
    assert shape_of(logits) == (1, 5, 16, 24)
    assert [(item.domain, item.version) for item in small.graph.opset_import] == [("", OPSET)]


def test_the_cast_comes_before_the_transpose(small: Small) -> None:
    """TensorRT rejects a Transpose of UINT8."""
    assert [node.op_type for node in small.graph.graph.node[:4]] == [
        "Cast",
        "Transpose",
        "Sub",
        "Div",
    ]


def test_batch_norm_is_folded(small: Small) -> None:
    kinds = Counter(node.op_type for node in small.graph.graph.node)
    assert kinds["BatchNormalization"] == 0
    convolutions = sum(isinstance(layer, nn.Conv2d) for layer in small.model.modules())
    assert kinds["Conv"] == convolutions


def test_nodes_are_named_by_module_path_and_operator(small: Small) -> None:
    names = [node.name for node in small.graph.graph.node]
    assert len(set(names)) == len(names)
    assert {
        "Cast",
        "Transpose",
        "normalise/Sub",
        "normalise/Div",
        "backbone.conv_stem/Conv",
        "backbone.bn1.act/Clip",
        "backbone.blocks.1.0.conv_pw/Conv",
        "backbone.blocks.1.1/Add",
        "aspp.pooling/ReduceMean",
        "aspp.atrous.2.depthwise/Conv",
        "aspp.atrous.2.depthwise_relu/Relu",
        "aspp/Concat",
        "decoder/Resize",
        "decoder/Concat",
        "decoder.classifier/Conv",
    } <= set(names)
    paths = {name.removeprefix("network.") for name, _ in small.model.named_modules()}
    assert {name.rpartition("/")[0] for name in names} <= paths


def test_tensors_bear_the_name_of_their_node(small: Small) -> None:
    for node in small.graph.graph.node[:-1]:
        assert list(node.output) == [node.name]
    assert list(small.graph.graph.node[-1].output) == ["logits"]


def test_weights_bear_their_parameter_path(small: Small) -> None:
    initializers = {tensor.name: tensor for tensor in small.graph.graph.initializer}
    assert len(initializers) == len(small.graph.graph.initializer)
    for node in small.graph.graph.node:
        if node.op_type == "Conv":
            module = node.name.removesuffix("/Conv")
            assert list(node.input[1:]) == [f"{module}.weight", f"{module}.bias"]
    weight = small.model.get_parameter("network.decoder.classifier.weight").detach().numpy()
    found = numpy_helper.to_array(initializers["decoder.classifier.weight"])
    np.testing.assert_array_equal(found, weight)


def test_nothing_tells_of_this_machine(small: Small) -> None:
    data = small.graph.SerializeToString()
    here = Path(__file__).resolve()
    for trace in (str(here.parents[2]), sys.prefix, "site-packages", ".py", "pkg.torch"):
        assert trace.encode() not in data, trace


def test_the_same_weights_give_the_same_bytes(small: Small) -> None:
    network = nn.Sequential(nn.Conv2d(3, 5, 7, 4, 3), nn.BatchNorm2d(5), nn.ReLU6())
    model = Deployable(network, small.spec).eval()
    first, second = (export_graph(model, small.spec) for _ in range(2))
    assert first.SerializeToString(deterministic=True) == second.SerializeToString(
        deterministic=True
    )


@pytest.mark.slow
def test_a_whole_network_gives_the_same_bytes_twice(small: Small) -> None:
    again = export_graph(small.model, small.spec)
    assert again.SerializeToString(deterministic=True) == small.graph.SerializeToString(
        deterministic=True
    )


def test_onnxruntime_computes_what_pytorch_does(small: Small) -> None:
    parity = compare(small.graph, small.model, small.frames)
    assert parity.onnx_max_abs < 1e-4
    assert parity.label_agreement >= 0.9999
    assert parity.images == len(small.frames)
    assert parity.to_json().keys() == {"onnx_max_abs", "label_agreement", "images"}


@pytest.mark.parametrize("value", [0.01, np.nan])
def test_another_weight_fails_the_gate_with_the_numbers(small: Small, value: float) -> None:
    other = with_bias(small.graph, "decoder.classifier.bias", value)
    with pytest.raises(GateFailed, match=r"not the network: logits differ by up to (0\.\d+|nan)"):
        compare(other, small.model, small.frames[:1])


def test_measure_counts_labels_at_frame_size(small: Small) -> None:
    other = with_bias(small.graph, "decoder.classifier.bias", 1000.0, index=2)
    parity = measure(other, small.model, small.frames[:2])
    assert parity.label_agreement < 0.9
    assert parity.onnx_max_abs == pytest.approx(1000.0, rel=1e-3)


def with_bias(graph: ModelProto, name: str, value: float, index: int = 0) -> ModelProto:
    result = ModelProto()
    result.CopyFrom(graph)
    for tensor in result.graph.initializer:
        if tensor.name == name:
            bias = numpy_helper.to_array(tensor).copy()
            bias[index] += value
            tensor.CopyFrom(numpy_helper.from_array(bias, name))
    return result


def test_parity_without_frames_is_an_error(small: Small) -> None:
    with pytest.raises(ValueError, match="at least one frame"):
        compare(small.graph, small.model, [])


def test_training_mode_is_an_error(small: Small) -> None:
    small.model.train()
    try:
        with pytest.raises(ValueError, match="eval mode"):
            export_graph(small.model, small.spec)
    finally:
        small.model.eval()


def contract_case(kind: int, frames: list[int | str], logits: list[int]) -> ModelProto:
    helper = onnx.helper
    graph = helper.make_graph(
        [],
        "case",
        [helper.make_tensor_value_info("frames", kind, frames)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, logits)],
    )
    return helper.make_model(graph)


@pytest.mark.parametrize(
    ("kind", "frames", "logits", "words"),
    [
        (TensorProto.FLOAT, [1, 64, 96, 3], [1, 5, 16, 24], r"'frames' is float \[1, 64, 96, 3\]"),
        (TensorProto.UINT8, [1, 3, 64, 96], [1, 5, 16, 24], r"uint8 \[1, 3, 64, 96\]: expected"),
        (TensorProto.UINT8, ["N", 64, 96, 3], [1, 5, 16, 24], r"\[N, 64, 96, 3\].*fixed size"),
        (TensorProto.UINT8, [1, 32, 96, 3], [1, 5, 8, 24], r"here \[1, 64, 96, 3\]"),
        (TensorProto.UINT8, [1, 64, 96, 3], [1, 5, 64, 96], r"'logits'.*here \[1, 5, 16, 24\]"),
        (TensorProto.UINT8, [1, 64, 96, 3], [1, 7, 16, 24], r"'logits'.*here \[1, 5, 16, 24\]"),
    ],
)
def test_another_contract_is_refused(
    small: Small, kind: int, frames: list[int | str], logits: list[int], words: str
) -> None:
    with pytest.raises(Refused, match=words):
        require_contract(contract_case(kind, frames, logits), small.spec)


def test_without_a_spec_any_fixed_size_will_do() -> None:
    require_contract(contract_case(TensorProto.UINT8, [1, 33, 65, 3], [1, 2, 9, 17]))
