"""Which numbers break a limit, whom they blame, and what the page and the summary make of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from onnx import ModelProto, TensorProto, helper

from export.plans.layers import FusedLayer
from export.verification.fused import FusedRow, asked, compared
from export.verification.measure import LayerRow, Measured
from export.verification.oracle import OracleError
from export.verification.page import render, stage_of, tone
from export.verification.report import Report
from export.verification.summary import lines
from export.verification.untouched import EngineRow
from export.verification.verdict import Finding, Limits, findings, first_layer, verdict, words

SCRIPT = "<script>alert(1)</script>"
DEPTH = [f"backbone.blocks.{i}.conv/Conv" for i in range(5)]


def layer(name: str, precision: str, own: float | None, **facts: Any) -> LayerRow:
    values: dict[str, Any] = {
        "kind": "pointwise", "rate": 1, "sqnr_db": own, "cosine": 1.0, "max_abs": 0.1, "range": 2.0,
        "border_sqnr_db": None, "border_share": 0.0, "own_slope": 0.0, "own_border_sqnr_db": None,
        "finite": own is not None, "block": name.rpartition(".")[0], "separable": False,
    }  # fmt: skip
    return LayerRow(name=name, precision=precision, own_sqnr_db=own, **{**values, **facts})


def column(precision: str, own: Sequence[float], **facts: Any) -> list[LayerRow]:
    return [layer(name, precision, db, **facts) for name, db in zip(DEPTH, own, strict=True)]


GOOD = [*column("fp32", [120.0] * 5), *column("fp16", [60.0] * 5), *column("int8_u8", [40.0] * 5)]


def engine(precision: str = "int8_u8", **facts: Any) -> EngineRow:
    values: dict[str, Any] = {
        "target": "cpu", "file": "x.onnx", "label_agreement": 0.99, "logits_db": 30.0,
        "max_abs": 0.1, "repeat_max_abs": 0.0, "rows_max_abs": 0.0, "finite": True, "note": None,
    }  # fmt: skip
    return EngineRow(precision=precision, **{**values, **facts})


def measured(rows: list[LayerRow], oracle: Sequence[OracleError] = ()) -> Measured:
    return Measured(rows, list(oracle), "PyTorch FP32", [])


def judge(rows: list[LayerRow], **facts: Any) -> list[Finding]:
    return findings(measured(rows, facts.get("oracle", ())), facts.get("engines", ()),
                    facts.get("fused", ()), facts.get("limits", Limits()))  # fmt: skip


def replaced(index: int, **facts: Any) -> list[LayerRow]:
    rows = list(GOOD)
    rows[index] = dataclasses.replace(rows[index], **facts)
    return rows


def test_good_numbers_break_nothing() -> None:
    assert judge(GOOD, engines=[engine()]) == []
    text = verdict(measured(GOOD), [engine()], [])
    assert text.startswith("Every layer does what the network does: at least 60 dB in FP16")
    assert "99.00%" in text


@pytest.mark.parametrize(
    ("index", "facts", "precision", "words_"),
    [
        (2, {"own_sqnr_db": 26.0}, "fp32", "at 26.0 dB, the limit is 80"),
        (6, {"own_sqnr_db": 44.0}, "fp16", "the limit is 45"),
        (13, {"own_slope": 0.05}, "int8_u8", "+5.0 % of the signal off"),
        (13, {"own_sqnr_db": 27.0}, "int8_u8", "other pointwise layers' at 40.0"),
        (11, {"own_sqnr_db": 19.0, "kind": "concat"}, "int8_u8", "the limit is 20"),
        (12, {"finite": False, "own_sqnr_db": None}, "int8_u8", "not finite"),
    ],
)
def test_a_layer_is_blamed_for_its_own_error(
    index: int, facts: dict[str, Any], precision: str, words_: str
) -> None:
    found = judge(replaced(index, **facts))
    first = first_layer(found)
    assert first is not None
    assert (first.precision, first.layer) == (precision, GOOD[index].name)
    assert words_ in first.reason
    assert GOOD[index].name in verdict(measured(GOOD), [], found)


def test_inherited_errors_blame_nobody_and_the_first_precision_comes_first() -> None:
    rows = replaced(13, own_slope=0.05)
    rows[14] = dataclasses.replace(rows[14], sqnr_db=3.0)
    rows[3] = dataclasses.replace(rows[3], own_sqnr_db=10.0)
    found = judge(rows)
    assert [(item.precision, item.layer) for item in found] == [
        ("fp32", DEPTH[3]), ("int8_u8", DEPTH[3]),
    ]  # fmt: skip


def test_float_layers_of_a_quantized_graph_are_no_measure_for_the_others() -> None:
    rows = column("mixed_s8", [70.0, 70.0, 70.0, 70.0, 38.0])
    assert judge([*GOOD, *rows]) == []


def test_the_loop_and_graphs_as_a_whole_have_limits() -> None:
    wrong = OracleError(DEPTH[1], "depthwise", 12, 2e-4, 9, 9)
    nan = dataclasses.replace(wrong, max_abs=None)
    assert "2.0e-04" in judge(GOOD, oracle=[wrong])[0].reason
    assert "not finite" in judge(GOOD, oracle=[nan])[0].reason
    cases: list[tuple[dict[str, Any], str]] = [
        ({"label_agreement": 0.89}, "89.00%"), ({"finite": False}, "not finite"),
        ({"repeat_max_abs": 0.1}, "two runs"), ({"rows_max_abs": 0.1}, "equal rows"),
    ]  # fmt: skip
    for facts, text in cases:
        (found,) = judge(GOOD, engines=[engine(**facts)])
        assert text in found.reason
        assert found.layer is None
        assert "as a whole" in verdict(measured(GOOD), [], [found])
    assert judge(GOOD, engines=[engine(label_agreement=0.89)], limits=Limits(20, 0.8)) == []
    (found,) = judge(GOOD, engines=[engine(label_agreement=0.9996)], limits=Limits(20, 0.9999))
    assert "the limit is 99.99%" in found.reason
    assert judge(GOOD, engines=[engine("fp16", label_agreement=0.98)])


def test_an_engine_is_held_to_the_same_graph_in_onnxruntime() -> None:
    name = "int8_u8 on tensorrt"
    same = [dataclasses.replace(row, precision=name, own_sqnr_db=None) for row in GOOD[10:]]
    assert judge([*GOOD, *same]) == []
    same[2] = dataclasses.replace(same[2], sqnr_db=30.0)
    (found,) = judge([*GOOD, *same])
    assert (found.precision, found.layer) == (name, DEPTH[2])


def typed_graph() -> ModelProto:
    """One convolution on dequantized inputs, one on FP16."""
    node = helper.make_node
    half = TensorProto.FLOAT16
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["q"], "q"),
        node("DequantizeLinear", ["q", "s", "z"], ["d"], "d"),
        node("DequantizeLinear", ["w8", "s", "z"], ["w"], "w"),
        node("Conv", ["d", "w"], ["y"], "a/Conv"),
        node("Conv", ["y", "v"], ["out"], "b/Conv"),
    ]
    value = helper.make_tensor
    tensors = [
        value("s", half, [], [0.5]), value("z", TensorProto.INT8, [], [0]),
        value("w8", TensorProto.INT8, [1, 1, 1, 1], [3]), value("v", half, [1, 1, 1, 1], [1.0]),
    ]  # fmt: skip
    ends = [helper.make_tensor_value_info(name, half, [1, 1, 2, 2]) for name in ("x", "out")]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)


def test_fused_layers_are_held_against_what_the_graph_asks_for() -> None:
    graph = typed_graph()
    assert asked(graph) == {"a/Conv": "INT8", "b/Conv": "FP16"}
    candidate: Any = SimpleNamespace(name="int8_s8_rtx", graph=graph)
    fused = [
        FusedLayer("l1", "correlation", (kind,), ("FP16",), ("a/Conv",))
        for kind in ("INT8", "FP16")
    ]
    good = compared(candidate, "rtx 1", (fused[0],), (fused[0],), 1.0)
    assert (good.fallbacks, good.untold, good.convolutions) == ([], ["b/Conv"], {"INT8": 1})
    bad = compared(candidate, "rtx 1", (fused[1],), (fused[0],), 1.0)
    found = judge(GOOD, fused=[good, bad])
    assert [item.layer for item in found] == ["a/Conv", None]
    assert "asks for INT8 and runs in FP16" in found[0].reason


def report(rows: list[LayerRow], found: list[Finding], **facts: Any) -> Report:
    values: dict[str, Any] = {
        "model": SCRIPT, "verdict": f"{SCRIPT} breaks", "passed": not found,
        "first": first_layer(found), "remedy": f"python x --exclude {SCRIPT}", "findings": found,
        "label_agreement": {"fp16": 0.9997, "int8_u8": 0.99, "mixed_u8": 0.99},
        "oracle_max_abs": 1e-6, "reference": "PyTorch FP32", "frames": 2, "data": SCRIPT,
        "limits": Limits(), "layers": rows,
        "oracle": [OracleError(DEPTH[1], "depthwise", 12, 1e-6, 9, 10)],
        "engines": [engine(note=SCRIPT)],
        "fused": [FusedRow("int8_s8_rtx", "rtx 1.7", 9, {"INT8": 3}, [], [SCRIPT], True, 2.0)],
        "copies": {"mixed_u8": "int8_u8"}, "notes": [SCRIPT], "source": SCRIPT,
        "input_size": (64, 96), "machine": {"cpu": SCRIPT, "cores": 2, "load": 0.1},
    }  # fmt: skip
    return Report(**{**values, **facts})


def test_the_page_shows_every_layer_marks_the_broken_one_and_escapes_names() -> None:
    rows = replaced(13, own_slope=0.05, border_share=0.5, own_border_sqnr_db=30.0)
    rows[1] = dataclasses.replace(rows[1], name=SCRIPT, border_share=0.5)
    page = render(report(rows, judge(rows)))
    assert SCRIPT not in page
    assert "<script" not in page
    assert page.count("<a tabindex") == len(rows)
    assert page.count('class="hit"') == 1
    assert "http" not in page.replace("http-equiv", "")
    for said in ("Broken", "+5.0 % of the signal off", "slope +5.00 %", "Two builds", "99.97 %"):
        assert said in page, said


def test_the_page_does_without_checkpoint_oracle_and_padding() -> None:
    page = render(report(column("int8_u8", [40.0] * 5), [], oracle=[], oracle_max_abs=None))
    assert "Verified" in page
    assert "Borders of atrous layers" not in page


def test_the_summary_names_what_breaks_and_the_next_command() -> None:
    rows = replaced(13, own_slope=0.05)
    text = "\n".join(lines(report(rows, judge(rows)), shown=1))
    assert f"BROKEN INT8 u8: {DEPTH[3]}: its result is +5.0 %" in text
    assert "next: python x --exclude" in text
    assert "FP16" in text
    assert "99.97%" in text


def test_colours_and_stages() -> None:
    assert [tone(db) for db in (None, -150.0, 14.9, 15.0, 40.0, 150.0)] == [None, 0, 0, 1, 3, 6]
    assert stage_of("backbone.blocks.1.0") == "blocks.1"
    assert stage_of("backbone.conv_stem") == "conv_stem"
    assert stage_of("aspp") == "aspp"
    assert [words(p) for p in ("int8_s8_rtx", "mixed_u8")] == ["INT8 s8 rtx", "Mixed u8"]
