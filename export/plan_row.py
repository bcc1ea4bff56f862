"""One TensorRT target of a build: its graph, its plan, and the sidecar that says what it is."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from engines.manifest import BundleFile
from engines.plan_sidecar import (
    PORTABLE,
    Environment,
    HashedFile,
    PlanOptions,
    PlanSidecar,
    environment,
)
from export.engine_row import Build, EngineRow, told
from export.plan_source import find_source, has_onnx, quantized_in
from export.plans.builder import Plan, build_plan
from export.plans.layers import node_precisions, summary
from export.plans.library import abilities, load_library
from export.plans.profiles import OPEN
from export.plans.settings import BuildSettings, require_supported
from export.plans.trtexec import command_line


def plan_row(build: Build, target: str) -> EngineRow:
    """Build a target's plan into the bundle, with its sidecar beside it."""
    trt = load_library(target)
    require_supported(build.settings, trt)
    source = find_source(build, target, trt)
    plan = build_plan(trt, build.writer.read(source.file), build.settings)
    stem, facts = f"{target}.{build.precision}", {"precision": build.precision, "target": target}
    file = build.writer.add_bytes(f"{stem}.plan", plan.data, "plan", **facts)
    text = sidecar(build, target, trt, plan, file, source.file).text()
    build.writer.add_bytes(f"{stem}.plan.json", text.encode(), "sidecar", **facts)
    graph = build.out / source.file.name
    return EngineRow(
        target, build.precision, file.name, file.sha256, file.bytes, plan.seconds, built=True,
        layers=summary(plan.layers) or None, kept_float=source.kept_float,
        runs_float=_runs_float(build, source.file, plan),
        preflight=told(source.table), warnings=plan.warnings,
        trtexec=command_line(trt, build.settings, graph, Path(file.name), frames(build)),
    )  # fmt: skip


def _runs_float(build: Build, graph: BundleFile, plan: Plan) -> dict[str, str]:
    """Quantized convolution -> what the plan runs it in instead, where its layers are known."""
    if not build.settings.int8 or not plan.layers or not has_onnx():
        return {}
    names = quantized_in(build, graph)
    found = node_precisions(plan.layers, names)
    return {name: found[name] for name in names if found.get(name, "INT8") != "INT8"}


def sidecar(
    build: Build, target: str, trt: ModuleType, plan: Plan, file: BundleFile, source: BundleFile
) -> PlanSidecar:
    """What must match before anybody deserialises the plan, and what it was made from."""
    here, settings = environment(trt.__name__), build.settings
    only = build.spec.input_size
    compatible = "ampere-plus" if settings.hardware_compatible else "none"
    return PlanSidecar(
        target,
        build.precision,
        here,
        capabilities(trt, settings, here),
        HashedFile(file.name, file.sha256),
        HashedFile(source.name, source.sha256),
        settings.batch,
        settings.size or (only, only, only),
        PlanOptions(settings.workspace_mb, settings.optimisation_level, compatible),
        plan.convolutions,
    )


def capabilities(trt: ModuleType, settings: BuildSettings, here: Environment) -> tuple[str, ...]:
    """The compute capabilities that the plan runs on."""
    if settings.hardware_compatible:
        return (PORTABLE,)
    if not abilities(trt).compute_capabilities:
        return (here.compute_capability,) if here.compute_capability else ()
    named = settings.compute_capabilities or (PORTABLE,)
    current = (here.compute_capability or "current",)
    return current if named == ("current",) else named


def frames(build: Build) -> tuple[int, ...]:
    """The graph's input shape, -1 where it is open."""
    height, width = (OPEN, OPEN) if build.settings.dynamic_size else build.spec.input_size
    return (OPEN if build.settings.dynamic_batch else 1, height, width, 3)
