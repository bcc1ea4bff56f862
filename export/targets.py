"""The engines of a bundle: one row per target, built or with the reason why not."""

from __future__ import annotations

import json
import platform
import time
from dataclasses import dataclass, replace

from engines.bundle import BundleWriter
from engines.failures import DeviceMissing, Refused
from engines.manifest import CPU_TARGETS, TARGETS, BundleFile
from engines.openvino_session import core
from engines.session import cpu_session
from engines.spec import ModelSpec
from export.plan import LIBRARIES, Plan, build_plan, load_library


@dataclass(frozen=True)
class EngineRow:
    """One engine: the file that a session of this target loads; `reason` if it was not built."""

    target: str
    precision: str
    file: str | None = None
    sha256: str | None = None
    bytes: int | None = None
    seconds: float | None = None
    built: bool = False
    reason: str | None = None
    layers: str | None = None


@dataclass(frozen=True)
class Build:
    """What engines are built from: the bundle being written, its spec and the precision."""

    writer: BundleWriter
    spec: ModelSpec
    precision: str
    workspace_mb: int


def require_library(target: str) -> None:
    """Raise `DeviceMissing` now if a library asked for by name is not on this machine."""
    if target in LIBRARIES:
        load_library(target)
    elif target == "openvino":
        core()


def build_engines(build: Build, target: str) -> list[EngineRow]:
    """One row per target. With `auto`, what this machine cannot build is a row with its reason;
    a target asked for by name that cannot be built raises instead."""
    wanted = TARGETS if target == "auto" else (target,)
    rows = []
    for name in wanted:
        try:
            rows.append(_cpu(build, name) if name in CPU_TARGETS else _plan(build, name))
        except (DeviceMissing, Refused) as error:
            if target != "auto":
                raise
            rows.append(EngineRow(name, build.precision, reason=str(error)))
    return rows


def _cpu(build: Build, target: str) -> EngineRow:
    """The graph that a session loads as it is, once it has."""
    flavour = "u8" if build.precision in ("int8", "mixed") else None
    facts = {"precision": build.precision, "flavour": flavour}
    own = build.writer.search("onnx", target=target, **facts)
    file = own or build.writer.find("onnx", target=None, **facts)
    started = time.perf_counter()
    cpu_session(target, build.writer.read(file), build.spec, build.precision).close()
    row = EngineRow(target, build.precision, built=True, seconds=time.perf_counter() - started)
    return _with_file(row, file)


def _plan(build: Build, target: str) -> EngineRow:
    library = load_library(target)
    flavour = "s8" if build.precision in ("int8", "mixed") else None
    facts = {"precision": build.precision, "flavour": flavour}
    own = build.writer.search("onnx", target=target, **facts)
    source = own or build.writer.find("onnx", target=None, **facts)
    plan = build_plan(library, build.writer.read(source), build.workspace_mb)
    stem = f"{target}.{build.precision}"
    facts = {"precision": build.precision, "target": target}
    file = build.writer.add_bytes(f"{stem}.plan", plan.data, "plan", **facts)
    sidecar = json.dumps(_sidecar(plan, target, build.precision, file, source), indent=1) + "\n"
    build.writer.add_bytes(f"{stem}.plan.json", sidecar.encode(), "sidecar", **facts)
    layers = ", ".join(f"{count} in {kind}" for kind, count in plan.convolutions.items())
    row = EngineRow(target, build.precision, built=True, seconds=plan.seconds)
    return replace(_with_file(row, file), layers=f"convolutions: {layers}" if layers else None)


def _sidecar(
    plan: Plan, target: str, precision: str, file: BundleFile, source: BundleFile
) -> dict[str, object]:
    """What must match before anybody deserialises the plan, and what it was made from."""
    return {
        "target": target,
        "precision": precision,
        "library": LIBRARIES[target],
        "version": plan.version,
        "platform": f"{platform.system()}-{platform.machine()}".lower(),
        "plan": {"file": file.name, "sha256": file.sha256},
        "source": {"file": source.name, "sha256": source.sha256},
        "convolutions": plan.convolutions,
    }


def _with_file(row: EngineRow, file: BundleFile) -> EngineRow:
    return replace(row, file=file.name, sha256=file.sha256, bytes=file.bytes)
