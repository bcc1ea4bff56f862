"""Known errors of TensorRT: recognised in the words that users posted, each with a way out."""

from __future__ import annotations

import re

import pytest

from export.plans.explained import KNOWN, explain, find_known

POSTED = [
    ("Could not infer output types for operation: dequantize", "--weakly-typed"),
    ("Error Code 10: Internal Error (Could not find any implementation for node "
     "aspp3.atrous_conv.)", "pre-flight"),
    ("Target GPU SM 87 is not supported by this TensorRT release.", "engines.doctor"),
    ("Requested amount of GPU memory (4294967296 bytes) could not be allocated.", "--workspace-mb"),
    ("Network has dynamic or shape inputs, but no optimization profile has been defined.",
     "--batch"),
    ("[6] Assertion failed: shiftIsAllZeros(zeroPoint) && \"TRT only supports symmetric\"",
     "--int8 --data"),
    ("Scale coefficients must all be positive", "calibrate again"),
    ("dq: input has type Int32 but must have type FP8, FP4, Int4, Int8, or UInt8", "FP32 graph"),
    ("node_permute: first input has type UInt8 but must have type Float, Half", "Cast to float"),
    ("In node 3 (importFoo): UNSUPPORTED_NODE: No importer registered for op: Foo", "opset 19"),
    ("ElementWise: Add must have the same type, got Half and Float", "one converter"),
    ("CUDA initialization failure with error: 35", "--gpus all"),
]  # fmt: skip


@pytest.mark.parametrize(("message", "way_out"), POSTED)
def test_a_posted_error_is_explained(message: str, way_out: str) -> None:
    text = explain(["something before", message, "Build of the engine failed"])
    assert text.startswith(" ".join(message.split()))
    assert way_out in text


def test_what_is_not_known_is_quoted_from_its_first_words_on() -> None:
    assert (
        explain(["first", "  ", "second\nline", "third", "fourth"]) == "first; second line; third"
    )
    assert explain([]) == "it gave no reason"


def test_the_data_is_complete_and_each_pattern_reads() -> None:
    for known in KNOWN:
        assert re.compile(known.pattern)
        assert all((known.cause, known.fix, known.source))
    assert find_known("all is well") is None
