"""Mixed precision within a build: what may stay in float is searched once, for each flavour; then
any `--max-drop` picks from what was found."""

from __future__ import annotations

import copy
import shutil
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from calibration.frames import CalibrationFrames
from calibration.graphs.placement import FLAVOURS
from engines.ranges import Ranges
from engines.spec import ModelSpec
from export.half import to_half
from export.progress import tell

if TYPE_CHECKING:
    from onnx import ModelProto

    from calibration.fidelity import Reference
    from calibration.graphs.placement import Flavour
    from calibration.mixed import MixedSearch


def search_mixed(
    graph: ModelProto,
    ranges: Ranges,
    spec: ModelSpec,
    held_out: CalibrationFrames,
    max_drop: float,
    out: Path,
) -> dict[str, MixedSearch]:
    """Flavour -> what keeping convolutions in float brings and costs, measured on held-out frames.

    `max_drop`, in points of mIoU, steers where the search looks closer. An interrupted search
    leaves what it measured beside `out`, the bundle's folder, and goes on from there.
    """
    from calibration.fidelity import Reference

    reference = Reference(graph, held_out, held_out.truths)
    state = out.parent / f".{out.name}.search"
    state.mkdir(parents=True, exist_ok=True)
    searches = {}
    for flavour in FLAVOURS:
        tell(f"mixed precision for {flavour}")
        file = state / f"{flavour}.json"
        searches[str(flavour)] = _search(graph, ranges, spec, flavour, reference, max_drop, file)
    shutil.rmtree(state)
    return searches


def _search(
    graph: ModelProto,
    ranges: Ranges,
    spec: ModelSpec,
    flavour: Flavour,
    reference: Reference,
    max_drop: float,
    state: Path,
) -> MixedSearch:
    """Costs are milliseconds on this CPU for its own flavour. TensorRT's graph cannot be timed
    without its GPU: there the cost is the share of the work that stays in float."""
    from calibration.graphs.quantized import quantized
    from calibration.mixed import search
    from calibration.mixing.probes import CpuProbe
    from calibration.repairs.equalise import apply_factors

    repaired = copy.deepcopy(graph)
    apply_factors(repaired, ranges.factors)
    build = partial(quantized, graph, ranges, flavour)
    if flavour == "s8":
        return search(
            repaired, lambda names: to_half(build(names)), flavour, reference, max_drop,
            whole=to_half(graph), state=state,
        )  # fmt: skip
    with CpuProbe(build(()), spec, reference.frames[0]) as probe:
        return search(
            repaired, build, flavour, reference, max_drop, probe, "onnxruntime", state=state
        )
