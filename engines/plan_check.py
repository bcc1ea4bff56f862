"""Finds the plan of a bundle that this machine may load, before a byte of it is read."""

from __future__ import annotations

from collections.abc import Iterator

from engines.bundle import Bundle
from engines.failures import Refused, UsageError
from engines.manifest import BundleFile
from engines.plan_sidecar import (
    Environment,
    PlanSidecar,
    check_profile,
    mismatches,
    rebuild_command,
)


def checked_plan(
    bundle: Bundle, target: str, precision: str, here: Environment
) -> tuple[BundleFile, PlanSidecar]:
    """The plan and its sidecar.

    Raises:
        UsageError: None was built for this target and precision.
        Refused: Its sidecar is missing or damaged, or it is not for this machine or model.
    """
    file = bundle.plan(target, precision)
    rebuild = rebuild_command(bundle.root, target, precision)
    if file is None:
        raise UsageError(
            f"this bundle has no {precision} plan for {target}, only {_built(bundle)}: {rebuild}"
        )
    try:
        sidecar = _sidecar(bundle, file)
    except Refused as error:
        raise Refused(f"{error}; build it again: {rebuild}") from None
    reasons = [*_foreign(bundle, file, sidecar), *mismatches(sidecar, here)]
    reasons += check_profile(sidecar, bundle.spec)
    if reasons:
        raise Refused(
            f"{bundle.root / file.name} is not for this machine or model: {'; '.join(reasons)}; "
            f"build it again: {rebuild_command(bundle.root, target, precision, sidecar)}"
        )
    return file, sidecar


def _sidecar(bundle: Bundle, plan: BundleFile) -> PlanSidecar:
    facts = {"target": plan.target, "precision": plan.precision}
    file = bundle.manifest.find("sidecar", **facts)
    if file is None:
        raise Refused(f"{bundle.root / plan.name} has no sidecar that says what it was built with")
    return PlanSidecar.parse(bundle.read(file))


def _foreign(bundle: Bundle, file: BundleFile, sidecar: PlanSidecar) -> Iterator[str]:
    """What says that the sidecar belongs to another plan, or the plan to another model."""
    if sidecar.plan.sha256 != file.sha256:
        yield f"its sidecar describes a plan with sha256 {sidecar.plan.sha256[:12]}…"
    if (sidecar.target, sidecar.precision) != (file.target, file.precision):
        yield f"its sidecar says {sidecar.precision} for {sidecar.target}"
    sources = {other.name: other.sha256 for other in bundle.manifest.files}
    if sources.get(sidecar.source.file) != sidecar.source.sha256:
        yield f"it was built from another {sidecar.source.file} than the bundle's"


def _built(bundle: Bundle) -> str:
    plans = [file for file in bundle.manifest.files if file.kind == "plan"]
    return ", ".join(f"{file.precision} for {file.target}" for file in plans) or "graphs"
