"""Which engine of the CPU `auto` means: the report of this very machine decides, in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engines import choice
from engines.bundle import Bundle
from engines.choice import choose_cpu_target
from engines.machine import describe_machine
from engines.session import choose_target


def row(target: str, precision: str, p50: float | None, drop: float = 0.0) -> dict[str, Any]:
    return {
        "target": target, "precision": precision, "p50_ms": p50, "drop": drop, "shipped": True,
    }  # fmt: skip


OURS = (row("cpu", "fp32", 40), row("cpu", "int8", 20, 0.1))


def report(*rows: dict[str, Any], **machine: Any) -> dict[str, Any]:
    """A report of this machine, but for what `machine` says."""
    gate = {"max_drop": 1.0}
    return {"rows": [*OURS, *rows], "gate": gate, "machine": {**describe_machine(), **machine}}


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenVINO is installed, wherever these tests run."""
    monkeypatch.setattr(choice, "installed", lambda: True)


@pytest.mark.parametrize(
    ("theirs", "chosen"),
    [
        ([row("openvino", "int8", 12, 0.1)], "openvino"),
        ([row("openvino", "fp32", 12)], "openvino"),
        ([row("openvino", "int8", 19.5, 0.1)], "cpu"),  # less than 5 % is noise
        ([row("openvino", "int8", 12, 1.1), row("openvino", "fp32", 38)], "cpu"),  # over the gate
        ([row("openvino", "int8", 25, 0.1)], "cpu"),
        ([{**row("openvino", "int8", 12), "shipped": False}], "cpu"),
        ([{**row("openvino", "int8", 12), "crf": "fast"}], "cpu"),
        ([], "cpu"),
    ],
)
def test_auto_is_openvino_only_where_it_was_measured_faster_within_the_gate(
    theirs: list[dict[str, Any]], chosen: str
) -> None:
    target, why = choose_cpu_target(report(*theirs), "auto")
    assert target == chosen
    assert why.startswith(f"{chosen}: ")


def test_the_sentence_has_both_times() -> None:
    _, why = choose_cpu_target(report(row("openvino", "int8", 12, 0.1)), "auto")
    assert why == (
        "openvino: faster here than onnxruntime by the accuracy report (onnxruntime int8 20.0 ms, "
        "OpenVINO int8 12.0 ms); --target cpu is onnxruntime"
    )


def test_of_a_precision_that_was_asked_for_only_its_rows_count() -> None:
    known = report(row("openvino", "int8", 12), row("openvino", "fp32", 50))
    assert choose_cpu_target(known, "int8")[0] == "openvino"
    assert choose_cpu_target(known, "fp32")[0] == "cpu"
    assert choose_cpu_target(known, "fp16")[0] == "cpu"


@pytest.mark.parametrize(
    "machine", [{"cpu": "another"}, {"cores": 99}, {"platform": "linux-aarch64-too"}]
)
def test_a_report_of_another_machine_says_nothing(machine: dict[str, Any]) -> None:
    known = report(row("openvino", "int8", 12), **machine)
    assert choose_cpu_target(known, "auto") == (
        "cpu", "cpu: onnxruntime (no accuracy report of this machine measured OpenVINO)"
    )  # fmt: skip


def test_what_is_faster_but_gone_is_told_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "installed", lambda: False)
    target, why = choose_cpu_target(report(row("openvino", "int8", 12)), "auto")
    assert target == "cpu"
    assert "pip install 'openvino>=2025.1'" in why


def test_a_bundle_s_own_report_decides_and_a_name_is_obeyed(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    assert choose_target(bundle, "auto", "auto")[0] == "cpu"  # it has no report
    assert choose_target(bundle, "openvino", "auto") == ("openvino", "openvino: as asked")
