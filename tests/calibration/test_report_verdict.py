"""The gate and the one sentence: rules from numbers, each with its border."""

from __future__ import annotations

from typing import Any

import pytest

from calibration.reporting.rows import Row
from calibration.reporting.verdict import Limits, judge, named_limits, verdict
from engines.failures import UsageError

LIMITS = Limits(1.0, {})


def row(
    precision: str,
    drop: float = 0.0,
    p50: float | None = 40.0,
    target: str = "cpu",
    person: float | None = 0.0,
    size: int = 10,
    **facts: Any,
) -> Row:
    """A row of which the verdict reads only what is given here."""
    values: dict[str, Any] = {
        "flavour": None, "method": None, "crf": None, "shipped": True, "energy_mj": None, **facts
    }  # fmt: skip
    return Row(
        precision=precision, target=target, input_size=(32, 48), output_stride=16,
        miou=70 - drop, drop=drop, worst_class="person", worst_class_drop=person,
        per_class={"person": 50.0}, class_drop={"person": person}, boundary_f=None,
        trimap_accuracy=None, pixel_accuracy=90.0, agreement=99.0,
        p50_ms=p50, p99_ms=p50, bytes=size, note=None, **values,
    )  # fmt: skip


FP32 = row("fp32")


@pytest.mark.parametrize(
    ("int8", "sentence"),
    [
        (row("int8", 0.2, 16), "INT8 costs 0.20 mIoU and is 2.5x faster than FP32 here: ship it."),
        (row("int8", 0.004, 20), "INT8 costs no mIoU and is 2.0x faster than FP32 here: ship it."),
        (row("int8", -0.3, 20), "INT8 gains 0.30 mIoU and is 2.0x faster than FP32 here: ship it."),
        (row("int8", 1.0, 20), "INT8 costs 1.00 mIoU and is 2.0x faster than FP32 here: ship it."),
        (row("int8", 0.2, 16, method="qat"),
         "INT8 after fine-tuning costs 0.20 mIoU and is 2.5x faster than FP32 here: ship it."),
        (row("int8", 4.1, 20), "INT8 costs 4.10 mIoU, over the limit of 1.0: keep FP32, or build "
         "with --mixed --max-drop 1.0."),
        (row("int8", 4.1, 60), "INT8 costs 4.10 mIoU, over the limit of 1.0: keep FP32, or build "
         "with --mixed --max-drop 1.0."),
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
        "INT8 costs 1.50 IoU of person, over its limit of 1.0: keep FP32, or build with --mixed "
        "--max-drop 1.0."
    )
    assert judge(rows, limits).failures == [
        "INT8 CPU costs 1.50 IoU of person, over its limit of 1.0"
    ]


def test_a_class_that_never_occurs_does_not_pass_silently() -> None:
    gate = judge([FP32, row("int8", person=None)], Limits(1.0, {"person": 1.0}))
    assert not gate.passed
    assert "no frame shows that class" in gate.failures[0]


def test_tensorrt_s_graph_fails_on_its_own() -> None:
    rows = [FP32, row("int8", 0.2, 20), row("int8", 2.5, None, "tensorrt")]
    gate = judge(rows, LIMITS)
    assert gate.failures == ["INT8 TensorRT costs 2.50 mIoU, over the limit of 1.0"]
    assert verdict(rows, LIMITS) == (
        "INT8 costs 0.20 mIoU and is 2.0x faster than FP32 here: ship it. "
        "TensorRT's INT8 graph costs 2.50 mIoU, over the limit of 1.0: use FP16 there."
    )


@pytest.mark.parametrize(
    ("int8", "mixed", "sentence"),
    [
        (row("int8", 4.1, 20), row("mixed", 0.2, 25),
         "INT8 costs 4.10 mIoU, over the limit of 1.0, but mixed precision costs 0.20 mIoU and is "
         "1.6x faster than FP32 here: ship it."),
        (row("int8", 4.1, 20), row("mixed", 0.2, 60),
         "INT8 costs 4.10 mIoU, over the limit of 1.0, but mixed precision is slower than FP32 "
         "here (60.0 ms against 40.0 ms): use FP32."),
        (row("int8", 4.1, 20), row("mixed", 1.2, 25),
         "INT8 costs 4.10 mIoU, over the limit of 1.0, and mixed precision is over a limit, too: "
         "keep FP32."),
        (row("int8", 0.2, 20), row("mixed", 0.1, 25),
         "INT8 costs 0.20 mIoU and is 2.0x faster than FP32 here: ship it."),
        (row("int8", 0.2, 20), row("mixed", 0.1, 20.5),
         "Mixed precision costs 0.10 mIoU and is 2.0x faster than FP32 here: ship it."),
        (row("int8", 0.2, 20), row("mixed", 1.3, 10),
         "INT8 costs 0.20 mIoU and is 2.0x faster than FP32 here: ship it."),
    ],
)  # fmt: skip
def test_mixed_precision_is_chosen_where_it_is_better(int8: Row, mixed: Row, sentence: str) -> None:
    assert verdict([FP32, int8, mixed], LIMITS) == sentence


def test_on_a_gpu_int8_must_beat_fp16() -> None:
    gpu = [row("fp32", 0, 5, "tensorrt"), row("fp16", 0, 2.4, "tensorrt")]
    cpu = [FP32, row("int8", 0.2, 20)]
    slow = verdict([*cpu, *gpu, row("int8", 0.1, 3.1, "tensorrt")], LIMITS)
    assert slow == (
        "INT8 costs 0.20 mIoU and is 2.0x faster than FP32 here: ship it. "
        "INT8 is slower than FP16 on this GPU (3.1 ms against 2.4 ms): use FP16."
    )
    fast = verdict([*gpu, row("int8", 0.1, 1.2, "tensorrt")], LIMITS)
    assert fast == "INT8 costs 0.10 mIoU and is 2.0x faster than FP16 on this GPU: ship it."
    alone = verdict([row("int8", 0.1, 1.2, "tensorrt")], LIMITS)
    assert alone == "INT8 costs 0.10 mIoU and takes 1.2 ms on this GPU: ship it."


@pytest.mark.parametrize(
    ("own", "ending"),
    [
        ([row("int8", 0.1, 1.2, "tensorrt"), row("mixed", 0.0, None, "tensorrt")],
         "INT8 costs 0.10 mIoU and is 2.0x faster than FP16 on this GPU: ship it."),
        ([row("int8", 0.1, None, "tensorrt"), row("mixed", 0.1, 1.6, "tensorrt")],
         "Mixed precision costs 0.10 mIoU and is 1.5x faster than FP16 on this GPU: ship it."),
        ([row("int8", 2.5, None, "tensorrt")],
         "TensorRT's INT8 graph costs 2.50 mIoU, over the limit of 1.0: use FP16 there."),
        ([row("int8", 0.1, None, "tensorrt")], "faster than FP32 here: ship it."),
    ],
)  # fmt: skip
def test_a_graph_without_a_plan_on_this_gpu_has_no_time_to_compare(
    own: list[Row], ending: str
) -> None:
    rows = [FP32, row("int8", 0.2, 20), row("fp16", 0, 2.4, "tensorrt"), *own]
    assert verdict(rows, LIMITS).endswith(ending)


def test_elsewhere_mixed_precision_is_named_where_it_holds() -> None:
    rows = [FP32, row("int8", 0.2, 20), row("int8", 2.5, None, "tensorrt")]
    mixed = row("mixed", 0.2, None, "tensorrt")
    assert verdict([*rows, mixed], LIMITS).endswith("use mixed precision there.")
    assert verdict(rows, LIMITS).endswith("use FP16 there.")


def test_tries_and_crf_rows_decide_nothing() -> None:
    rows = [FP32, row("int8", 0.2, 20)]
    contrast = [
        row("int8", 9.0, 10, method="minmax", shipped=False),
        row("int8", 9.0, 90, crf="fast"),
        row("int8", 9.0, None, "tensorrt", shipped=False),
    ]
    assert judge([*rows, *contrast], LIMITS) == judge(rows, LIMITS)
    assert verdict([*rows, *contrast], LIMITS) == verdict(rows, LIMITS)


def test_every_reduced_row_is_held_to_the_limit_and_fp32_never() -> None:
    rows = [
        row("fp32", 9.0),
        row("fp16", 1.1),
        row("int8", 1.0),
        row("int8", 1.2, None, "tensorrt"),
    ]
    failures = judge(rows, LIMITS).failures
    assert [failure.split(" costs")[0] for failure in failures] == ["FP16 CPU", "INT8 TensorRT"]
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


OURS = (FP32, row("int8", 0.2, 20))


@pytest.mark.parametrize(
    ("theirs", "sentence"),
    [
        ([row("fp32", 0, 30, "openvino"), row("int8", 0.1, 12.5, "openvino")],
         "OpenVINO's INT8 costs 0.10 mIoU and is 1.6x faster here than onnxruntime's INT8 (12.5 ms "
         "against 20.0 ms): use --target openvino."),
        ([row("fp32", 0, 15, "openvino"), row("int8", 1.5, 10, "openvino")],
         "OpenVINO's FP32 costs no mIoU and is 1.3x faster here than onnxruntime's INT8 (15.0 ms "
         "against 20.0 ms): use --target openvino."),
        ([row("fp32", 0, 30, "openvino"), row("int8", 0.1, 19.6, "openvino")],
         "OpenVINO is no faster here (INT8 in 19.6 ms, onnxruntime INT8 in 20.0 ms): keep "
         "--target cpu."),
        ([row("int8", 1.5, 10, "openvino")],
         "In OpenVINO no graph is within the limits: keep --target cpu."),
    ],
)  # fmt: skip
def test_on_a_cpu_the_faster_engine_within_the_limits_is_recommended(
    theirs: list[Row], sentence: str
) -> None:
    alone = verdict(OURS, LIMITS)
    assert verdict([*OURS, *theirs], LIMITS) == f"{alone} {sentence}"


def test_openvino_s_graphs_are_held_to_the_gate() -> None:
    gate = judge([*OURS, row("int8", 1.5, 10, "openvino")], LIMITS)
    assert gate.failures == ["INT8 OpenVINO costs 1.50 mIoU, over the limit of 1.0"]
