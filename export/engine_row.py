"""One engine of a build: what it is built from, and what is told about it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engines.bundle import BundleWriter
from engines.spec import ModelSpec
from export.plans.settings import BuildSettings

if TYPE_CHECKING:
    from export.plans.preflight import Preflight

COMMONEST = 3  # warnings of the builder's log that people see; JSON has all


@dataclass(frozen=True)
class EngineRow:
    """One engine: the file that a session of this target loads; `reason` if it was not built.

    Of TensorRT also: `layers`, its convolutions by precision; `kept_float`, nodes that this machine
    cannot run in INT8 and why; `runs_float`, those that the plan runs in another precision though
    they are quantized; the pre-flight's table; the builder's warnings and their number; and the
    command of NVIDIA's own tool for the same build.
    """

    target: str
    precision: str
    file: str | None = None
    sha256: str | None = None
    bytes: int | None = None
    seconds: float | None = None
    built: bool = False
    reason: str | None = None
    layers: str | None = None
    kept_float: dict[str, str] = field(default_factory=dict)
    runs_float: dict[str, str] = field(default_factory=dict)
    preflight: tuple[Any, ...] = ()
    warnings: dict[str, int] = field(default_factory=dict)
    trtexec: str | None = None

    def lines(self) -> Iterator[str]:
        """For people."""
        if not self.built or self.bytes is None:
            yield f"  {self.target:13}not built: {self.reason}"
            return
        yield f"  {self.target:13}{self.precision}  {self.file}  {self.bytes / 1e6:.1f} MB"
        if self.layers:
            yield f"    {self.layers}"
        for node, reason in self.kept_float.items():
            yield f"    kept in FP16: {node} ({reason} in INT8)"
        for node, kind in self.runs_float.items():
            yield f"    WARNING: {node} is quantized, and TensorRT runs it in {kind}"
        for text, count in list(self.warnings.items())[:COMMONEST]:
            yield f"    the builder warned {count} times: {text.splitlines()[0]}"
        if self.trtexec:
            yield f"    the same with NVIDIA's tool: {self.trtexec}"


@dataclass(frozen=True)
class Build:
    """What engines are built from.

    Args:
        writer: The bundle that is being written.
        spec: Its model's.
        precision: The engines'.
        settings: What TensorRT's builder is told.
        out: Where the bundle will stand.
        depthwise_int8: Whether depthwise convolutions run in INT8; None is the target's default.
        preflight: Whether each convolution is built alone before.
    """

    writer: BundleWriter
    spec: ModelSpec
    precision: str
    settings: BuildSettings
    out: Path
    depthwise_int8: bool | None = None
    preflight: bool = False


@dataclass(frozen=True)
class BuildResult:
    """What `build_engine.py` prints and writes as JSON."""

    bundle: Path
    precision: str
    engines: list[EngineRow]
    parity: dict[str, float] | None
    golden_agreement: dict[str, float]
    seconds: float

    def lines(self) -> list[str]:
        """For people: each engine, what INT8 did to the golden masks, the next command."""
        text = [f"{self.bundle}  ({self.seconds:.0f} s)"]
        for row in self.engines:
            text.extend(row.lines())
        shares = "  ".join(f"{k} {v:.2%}" for k, v in self.golden_agreement.items())
        text.append(f"  golden frames, pixels with FP32's label: {shares}")
        for name, share in self.golden_agreement.items():
            if share < DOUBTFUL:
                text.append(f"  WARNING: {name} changes {1 - share:.0%} of the pixels: measure it")
        bundle = shlex.quote(str(self.bundle))
        text.append(f"next: python runtime/stream.py --bundle {bundle} --camera street:")
        return text


DOUBTFUL = 0.9  # share of pixels with FP32's label below which an engine needs a closer look


def told(table: Preflight | None) -> tuple[Any, ...]:
    """A pre-flight's rows as JSON data."""
    return () if table is None else tuple(row.to_json() for row in table.rows)
