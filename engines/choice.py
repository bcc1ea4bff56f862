"""What an accuracy report says about which engine and precision to run: the fastest that passes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from numbers import Real
from typing import Any

from engines.failures import MALFORMED, Refused
from engines.machine import cpu_name, platform_name, usable_cores
from engines.manifest import CPU_TARGETS
from engines.openvino_session import INSTALL, installed

CLEAR = 1.05  # faster by less is noise
BEYOND = 1e12  # ms, points, ...

Report = Mapping[str, Any]  # calibration/report.schema.json
Row = Mapping[str, Any]


def read_report(text: bytes) -> dict[str, Any]:
    """A report as a bundle keeps it; one that lacks what is compared here raises `Refused`."""
    try:
        report: dict[str, Any] = json.loads(text)
        wrong = next(_malformed(report), None)
    except MALFORMED as error:
        wrong = repr(error)
    if wrong is not None:
        raise Refused(
            f"the bundle's accuracy report is not valid ({wrong}): measure again with "
            "python calibration/report.py"
        )
    return report


def _malformed(report: Report) -> Iterator[str]:
    gate = report["gate"]
    classes = gate.get("max_class_drop", {})
    if not all(map(_is_number, (gate["max_drop"], *classes.values()))):
        yield "a limit of its gate is no number"
    if not isinstance(report.get("machine", {}), dict):
        yield "its machine has no facts"
    for row in report["rows"]:
        drops = [row["class_drop"][name] for name in classes]
        told = [number for number in (*drops, row["p50_ms"]) if number is not None]
        if not all(map(_is_number, (row["drop"], *told))):
            yield "a row's drop or time is no number"
        named = isinstance(row["precision"], str) and isinstance(row["target"], str)
        if not named or not isinstance(row["shipped"], bool):
            yield "a row does not tell what it is of"


def _is_number(value: Any) -> bool:
    """Of a size that any unit here may have, and not NaN."""
    return isinstance(value, Real) and abs(float(value)) < BEYOND


def timed_rows(report: Report | None, target: str) -> list[Row]:
    """The bundle's own graphs that were timed on a target, without the CRF."""
    rows = [] if report is None else report["rows"]
    own = (r for r in rows if r["target"] == target and r["shipped"] and not r.get("crf"))
    return [row for row in own if row["p50_ms"] is not None]


def fastest(report: Report | None, target: str, precision: str = "auto") -> Row | None:
    """The fastest row within the report's gate, of one precision if that is given; or None."""
    if report is None:
        return None
    rows = (row for row in timed_rows(report, target) if precision in ("auto", row["precision"]))
    passing = (row for row in rows if passes(row, report["gate"]))
    return min(passing, key=lambda row: float(row["p50_ms"]), default=None)


def passes(row: Row, gate: Mapping[str, Any]) -> bool:
    """Whether a row is within the gate; FP32 always is, it is what the rest is held to."""
    drops = [(row["class_drop"][name], x) for name, x in gate.get("max_class_drop", {}).items()]
    held = all(drop is not None and drop <= limit for drop, limit in drops)
    return row["precision"] == "fp32" or (held and bool(row["drop"] <= gate["max_drop"]))


def choose_cpu_target(report: Report | None, precision: str) -> tuple[str, str]:
    """onnxruntime ("cpu"), or OpenVINO where this machine's report measured it as faster; and why.

    A report of another machine says nothing about this one's engines.
    """
    ours, theirs = (fastest(report, target, precision) for target in CPU_TARGETS)
    if report is None or ours is None or theirs is None or not same_machine(report["machine"]):
        return "cpu", "cpu: onnxruntime (no accuracy report of this machine measured OpenVINO)"
    times = ", ".join(
        f"{engine} {row['precision']} {row['p50_ms']:.1f} ms"
        for engine, row in (("onnxruntime", ours), ("OpenVINO", theirs))
    )
    if theirs["p50_ms"] * CLEAR > ours["p50_ms"]:
        return "cpu", f"cpu: the accuracy report found OpenVINO no faster here ({times})"
    if not installed():
        return "cpu", (
            f"cpu: the accuracy report found OpenVINO faster here ({times}), but it is not "
            f"installed now: {INSTALL}"
        )
    return "openvino", (
        f"openvino: faster here than onnxruntime by the accuracy report ({times}); "
        "--target cpu is onnxruntime"
    )


def same_machine(machine: Mapping[str, Any]) -> bool:
    """Whether a report was measured on a machine like this one."""
    here = {"cpu": cpu_name(), "cores": usable_cores(), "platform": platform_name()}
    return all(machine.get(fact) == value for fact, value in here.items())
