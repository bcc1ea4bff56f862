"""The engines of a bundle: one row per target, built or with the reason why not."""

from __future__ import annotations

import time

from engines.failures import DeviceMissing, Refused, UsageError
from engines.manifest import CPU_TARGETS, TARGETS
from engines.openvino_session import core
from engines.session import cpu_session
from export.engine_row import Build, EngineRow
from export.plan_row import plan_row
from export.plans.library import LIBRARIES, load_library
from export.plans.settings import BuildSettings, require_supported


def require_library(target: str, settings: BuildSettings) -> None:
    """Raise `DeviceMissing` now if a library asked for by name is not on this machine, and what
    `require_supported` does if it has not what `settings` ask for."""
    if target in LIBRARIES:
        require_supported(settings, load_library(target))
    elif target == "openvino":
        core()


def build_engines(build: Build, target: str) -> list[EngineRow]:
    """One row per target. With `auto`, what this machine cannot build, or not with these settings,
    is a row with its reason; a target asked for by name that cannot be built raises instead."""
    wanted = TARGETS if target == "auto" else (target,)
    rows = []
    for name in wanted:
        try:
            rows.append(_cpu(build, name) if name in CPU_TARGETS else plan_row(build, name))
        except (DeviceMissing, Refused, UsageError) as error:
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
    return EngineRow(
        target, build.precision, file.name, file.sha256, file.bytes,
        time.perf_counter() - started, built=True,
    )  # fmt: skip
