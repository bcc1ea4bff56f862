"""Names follow from the module and the operator, whatever the exporter called things."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from export.naming import SCOPES, rename, strip

PARAMETERS = ("network.head.conv.weight", "network.head.conv.bias", "normalise.mean")


def node(kind: str, inputs: list[str], outputs: list[str], scopes: str) -> NodeProto:
    result = helper.make_node(kind, inputs, outputs, f"node_{outputs[0]}")
    result.metadata_props.add(key=SCOPES, value=scopes)
    return result


def exported(prefix: str) -> ModelProto:
    """A graph as the exporter might leave it; `prefix` stands for its numbering."""
    head = "'', 'network', 'network.head'"
    nodes = [
        node("Sub", ["x", "normalise.mean"], [f"{prefix}0"], f"['', 'normalise', '{prefix}sub']"),
        node(
            "Conv",
            [f"{prefix}0", "network.head.conv.weight", f"{prefix}bias"],
            [f"{prefix}1"],
            f"[{head}, 'network.head.bn', '{prefix}bn']",
        ),
        node("Clip", [f"{prefix}1", f"{prefix}min"], [f"{prefix}2"], f"[{head}, '{prefix}clip']"),
        node("Add", [f"{prefix}2", f"{prefix}2"], [f"{prefix}3"], f"[{head}, '{prefix}a']"),
        node("Add", [f"{prefix}3", f"{prefix}2"], [f"{prefix}4"], f"[{head}, '{prefix}b']"),
        node("Split", [f"{prefix}4"], ["y", f"{prefix}5"], f"['', '{prefix}split']"),
    ]
    constants = {
        "normalise.mean": np.zeros(3, np.float32),
        "network.head.conv.weight": np.zeros((4, 3, 1, 1), np.float32),
        f"{prefix}bias": np.zeros(4, np.float32),
        f"{prefix}min": np.array(0, np.float32),
    }
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph)


def test_names_are_paths_operators_and_parameters() -> None:
    model = exported("t")
    rename(model, PARAMETERS)
    assert [item.name for item in model.graph.node] == [
        "normalise/Sub",
        "head.conv/Conv",
        "head/Clip",
        "head/Add",
        "head/Add_1",
        "Split",
    ]
    assert [item.name for item in model.graph.initializer] == [
        "normalise.mean",
        "head.conv.weight",
        "head.conv.bias",
        "head/Clip.1",
    ]
    assert list(model.graph.node[4].input) == ["head/Add", "head/Clip"]
    assert list(model.graph.node[5].output) == ["y", "Split:1"]


def test_the_exporters_numbering_leaves_no_trace() -> None:
    graphs = [exported("getitem_1"), exported("val_987")]
    for graph in graphs:
        rename(graph, PARAMETERS)
        strip(graph)
    assert graphs[0].SerializeToString() == graphs[1].SerializeToString()


def test_without_scopes_the_exporter_is_too_old() -> None:
    model = exported("t")
    del model.graph.node[2].metadata_props[:]
    with pytest.raises(ValueError, match="node_t2: its torch is too old"):
        rename(model, PARAMETERS)


def test_strip_clears_every_level() -> None:
    model = exported("t")
    model.doc_string = "/home/somebody"
    model.metadata_props.add(key="a", value="/home/somebody")
    model.graph.doc_string = "/home/somebody"
    model.graph.initializer[0].doc_string = "/home/somebody"
    model.graph.input[0].doc_string = "/home/somebody"
    model.graph.node[0].attribute.add(name="a", doc_string="/home/somebody")
    strip(model)
    assert b"somebody" not in model.SerializeToString()
    assert b"name_scopes" not in model.SerializeToString()
