"""Which nodes stay in float, and for which reason."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from calibration.graphs.placement import Flavour, float_nodes
from calibration.graphs.qdq import quantize
from calibration.graphs.wiring import Wiring, quantized_convolutions
from calibration.ranges.observe import quantizable


def test_s8_names_its_reasons(miniature: ModelProto) -> None:
    reasons = float_nodes(miniature, "s8")
    assert reasons["stem/Conv"].startswith("first convolution")
    assert reasons["classifier/Conv"].startswith("classifier")
    assert reasons["pooling/Conv"].startswith("image pooling")
    assert reasons["decoder/Resize"].startswith("Resize")
    assert not {"depth/Conv", "wide/Conv", "branch/Conv", "project/Conv"} & reasons.keys()


def test_rtx_adds_the_depthwise_convolutions(miniature: ModelProto) -> None:
    extra = (
        float_nodes(miniature, "s8", "tensorrt-rtx").keys() - float_nodes(miniature, "s8").keys()
    )
    assert extra == {"depth/Conv", "shrink/Conv", "atrous/Conv"}


def test_u8_keeps_only_resize_in_float(miniature: ModelProto) -> None:
    assert float_nodes(miniature, "u8").keys() == {"decoder/Resize"}


@pytest.mark.parametrize("flavour", ["u8", "s8"])
def test_the_writer_follows_the_rules(miniature: ModelProto, flavour: Flavour) -> None:
    """What a rule names, and only that, has no quantized weights and reads no rounded tensor."""
    ranges = dict.fromkeys(quantizable(miniature), (-6.0, 6.0))
    graph = quantize(miniature, ranges, flavour)
    reasons = float_nodes(miniature, flavour)
    convolutions = {node.name for node in miniature.graph.node if node.op_type == "Conv"}
    assert set(quantized_convolutions(graph)) == convolutions - reasons.keys()
    if flavour == "s8":  # on the CPU a rounded copy is all there is
        producer = Wiring(graph).producer
        kept = [node for node in graph.graph.node if node.name in reasons]
        makers = [
            producer[name].op_type for node in kept for name in node.input if name in producer
        ]
        assert "DequantizeLinear" not in makers


def graph(*nodes: tuple[str, str, list[str]]) -> ModelProto:
    """Nodes (operator, result, inputs) from `x` to `logits`; `w` is a weight [24, 24, 1, 1]."""
    weight = numpy_helper.from_array(np.ones((24, 24, 1, 1), np.float32), "w")
    frames, logits = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", "logits")
    )
    made = [helper.make_node(kind, inputs, [result], result) for kind, result, inputs in nodes]
    return helper.make_model(helper.make_graph(made, "graph", [frames], [logits], [weight]))


def test_excitation_stays_in_float_and_what_it_scales_does_not() -> None:
    network = graph(
        ("Conv", "stem", ["x", "w"]),
        ("ReduceMean", "squeeze", ["stem"]),
        ("Conv", "reduce", ["squeeze", "w"]),
        ("HardSigmoid", "gate", ["reduce"]),
        ("Mul", "scaled", ["stem", "gate"]),
        ("Conv", "project", ["scaled", "w"]),
        ("Conv", "classifier", ["project", "w"]),
        ("Identity", "logits", ["classifier"]),
    )
    reasons = float_nodes(network, "s8")
    assert reasons["reduce"].startswith("image pooling or excitation")
    assert not {"project", "classifier"} & reasons.keys()


def test_classifiers_whose_sum_is_resized_to_the_logits_stay_in_float() -> None:
    network = graph(
        ("Conv", "stem", ["x", "w"]),
        ("Conv", "features", ["stem", "w"]),
        ("Add", "residual", ["stem", "features"]),
        ("Conv", "branch_1", ["residual", "w"]),
        ("Conv", "branch_2", ["residual", "w"]),
        ("Add", "sum", ["branch_1", "branch_2"]),
        ("Resize", "logits", ["sum"]),
    )
    reasons = float_nodes(network, "s8")
    assert {name for name, why in reasons.items() if why.startswith("classifier")} == {
        "branch_1",
        "branch_2",
    }
    assert "features" not in reasons
