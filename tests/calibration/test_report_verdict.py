"""The gate and the one sentence: rules from numbers, each with its border."""

from __future__ import annotations

import pytest

from calibration.accuracy import Row
from calibration.verdict import Limits, judge, named_limits, verdict
from engines.failures import UsageError

LIMITS = Limits(1.0, {})


def row(
    precision: str,
    drop: float = 0.0,
    p50: float | None = 40.0,
    target: str = "cpu",
    person: float | None = 0.0,
    size: int = 10,
) -> Row:
    """A row of which the verdict reads only what is given here."""
    return Row(
        precision=precision, flavour=None, target=target, method=None, shipped=True,
        miou=70 - drop, drop=drop, worst_class="person", worst_class_drop=person,
        per_class={"person": 50.0}, class_drop={"person": person}, boundary_f=None,
        trimap_accuracy=None, pixel_accuracy=90.0, agreement=99.0,
        p50_ms=p50, p99_ms=p50, bytes=size, note=None,
    )  # fmt: skip


FP32 = row("fp32")


@pytest.mark.parametrize(
    ("int8", "sentence"),
    [
        (row("int8", 0.2, 16), "INT8 costs 0.20 mIoU and is 2.5x faster than FP32 here: ship it."),
        (row("int8", 0.004, 20), "INT8 costs no mIoU and is 2.0x faster than FP32 here: ship it."),
        (row("int8", -0.3, 20), "INT8 gains 0.30 mIoU and is 2.0x faster than FP32 here: ship it."),
        (row("int8", 1.0, 20), "INT8 costs 1.00 mIoU and is 2.0x faster than FP32 here: ship it."),
        (row("int8", 4.1, 20), "INT8 costs 4.10 mIoU, over the limit of 1.0: keep FP32."),
        (row("int8", 4.1, 60), "INT8 costs 4.10 mIoU, over the limit of 1.0: keep FP32."),
        (
            row("int8", 0.1, 60),
            "INT8 is slower than FP32 here (60.0 ms against 40.0 ms): use FP32.",
        ),
        (
            row("int8", 0.1, 39.5),
            "INT8 is no faster than FP32 here (39.5 ms against 40.0 ms): use FP32.",
        ),
    ],
)  # fmt: skip
def test_accuracy_first_then_speed(int8: Row, sentence: str) -> None:
    assert verdict([FP32, row("fp16"), int8], LIMITS) == sentence


def test_a_class_over_its_limit_decides_too() -> None:
    rows = [FP32, row("int8", 0.2, 15, person=1.5)]
    limits = Limits(1.0, {"person": 1.0})
    assert verdict(rows, limits) == (
        "INT8 costs 1.50 IoU of person, over its limit of 1.0: keep FP32."
    )
    assert judge(rows, limits).failures == [
        "INT8 (cpu) costs 1.50 IoU of person, over its limit of 1.0"
    ]


def test_a_class_that_never_occurs_does_not_pass_silently() -> None:
    gate = judge([FP32, row("int8", person=None)], Limits(1.0, {"person": 1.0}))
    assert not gate.passed
    assert "no frame shows that class" in gate.failures[0]


def test_tensorrt_s_graph_fails_on_its_own() -> None:
    rows = [FP32, row("int8", 0.2, 20), row("int8", 2.5, None, "tensorrt")]
    gate = judge(rows, LIMITS)
    assert gate.failures == ["INT8 (tensorrt) costs 2.50 mIoU, over the limit of 1.0"]
    assert verdict(rows, LIMITS) == (
        "INT8 costs 0.20 mIoU and is 2.0x faster than FP32 here: ship it. "
        "TensorRT's INT8 graph costs 2.50 mIoU, over the limit of 1.0: use FP16 there."
    )


def test_every_reduced_row_is_held_to_the_limit_and_fp32_never() -> None:
    rows = [
        row("fp32", 9.0),
        row("fp16", 1.1),
        row("int8", 1.0),
        row("int8", 1.2, None, "tensorrt"),
    ]
    failures = judge(rows, LIMITS).failures
    assert [failure.split(" costs")[0] for failure in failures] == ["FP16 (cpu)", "INT8 (tensorrt)"]
    assert judge(rows[:1], LIMITS).passed


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (
            [FP32, row("fp16", 0.2, size=5)],
            "This bundle has no INT8 graph; FP16 costs 0.20 mIoU and its file is 2.0x smaller: "
            "ship that.",
        ),
        (
            [FP32, row("fp16", 3.0)],
            "This bundle has no INT8 graph, and FP16 costs 3.00 mIoU, over the limit of 1.0: "
            "keep FP32.",
        ),
        (
            [FP32],
            "This bundle has no INT8 graph and no FP16 one: there is nothing to compare FP32 with.",
        ),
    ],
)
def test_without_int8(rows: list[Row], sentence: str) -> None:
    assert verdict(rows, LIMITS) == sentence


def test_class_names_are_found_whatever_their_case() -> None:
    limits = named_limits(Limits(1.0, {"sIGNsymbol": 0.5}), ("Car", "SignSymbol"))
    assert limits.max_class_drop == {"SignSymbol": 0.5}


@pytest.mark.parametrize(
    ("name", "hint"), [("persn", "did you mean Person"), ("x", "known: Person")]
)
def test_an_unknown_class_is_a_usage_error(name: str, hint: str) -> None:
    with pytest.raises(UsageError, match=hint):
        named_limits(Limits(1.0, {name: 1.0}), ("Person", "Car"))
