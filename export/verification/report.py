"""What `export/verify.py` writes as JSON and shows as a page."""

from __future__ import annotations

from dataclasses import dataclass

from export.verification.fused import FusedRow
from export.verification.measure import LayerRow
from export.verification.oracle import OracleError
from export.verification.untouched import EngineRow
from export.verification.verdict import Finding, Limits


@dataclass(frozen=True)
class Report:
    """All that was found, as it is written as JSON.

    `label_agreement` and `oracle_max_abs` (a share of the layer's output range) sum up `engines`
    and `oracle`; `copies` are graphs that are the same file as another.
    """

    model: str
    verdict: str
    passed: bool
    first: Finding | None
    remedy: str | None
    findings: list[Finding]
    label_agreement: dict[str, float]
    oracle_max_abs: float | None
    reference: str
    frames: int
    data: str
    limits: Limits
    layers: list[LayerRow]
    oracle: list[OracleError]
    engines: list[EngineRow]
    fused: list[FusedRow]
    copies: dict[str, str]
    notes: list[str]
    source: str
    input_size: tuple[int, int]
    machine: dict[str, str | int | float]
