"""The graphs of a bundle: FP32, FP16, and what calibration makes of them, each written once."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from calibration.graphs.clip_probe import probe_graph
from calibration.graphs.quantized import quantized
from calibration.graphs.validator import validate_s8
from engines.bundle import BundleWriter
from engines.failures import GateFailed, Refused, hint
from engines.ranges import Ranges
from export.calibrated import Calibrated, kind_of
from export.half import to_half
from export.progress import tell

if TYPE_CHECKING:
    import onnx

    from calibration.mixed import MixedSearch
    from calibration.mixing.trials import Point

RTX = "tensorrt-rtx"
OPENVINO = "openvino"


def add_graph(writer: BundleWriter, name: str, graph: onnx.ModelProto, **facts: str | None) -> None:
    """Serialise a graph into the bundle; its kind is "onnx" if `facts` name no other."""
    kind = facts.pop("kind", None) or "onnx"
    writer.add_bytes(name, graph.SerializeToString(deterministic=True), kind, **facts)


def require_nodes(graph: onnx.ModelProto, names: Collection[str]) -> None:
    """Raise `Refused` for a name of --exclude that no node has, before frames are calibrated on."""
    known = [node.name for node in graph.graph.node]
    for name in names:
        if name not in known:
            layers = [node for node in known if node.endswith("/Conv")]
            raise Refused(f"--exclude {name}: the graph has no such layer; {hint(name, layers)}")


def add_int8(
    writer: BundleWriter, graph: onnx.ModelProto, found: Calibrated, exclude: Collection[str] = ()
) -> None:
    """Both flavours, in which `exclude` stays in float, and everything the calibration found."""
    _add_u8(writer, graph, found.ranges, "int8", exclude)
    _add_s8(writer, graph, found.ranges, "int8", exclude)
    found.ranges.save(writer.path("ranges.json"))
    writer.add("ranges.json", "ranges")
    for name, text in found.files().items():
        writer.add_bytes(name, text.encode(), kind_of(name))


def add_mixed(
    writer: BundleWriter,
    graph: onnx.ModelProto,
    found: Calibrated,
    max_drop: float,
    required: bool,
    exclude: Collection[str] = (),
) -> dict[str, Any]:
    """The cheapest graph of each flavour within `max_drop` points, in which `exclude` stays in
    float, too, and its search as a picture.

    Returns flavour -> what was picked, for the manifest. A flavour without any graph within the
    limit says so and is left out; if that is both, though it is `required`: `GateFailed`.
    """
    picked: dict[str, Any] = {}
    failures = []
    for flavour, search in found.mixed.items():
        try:
            point = _pick(writer, replace(search, max_drop=max_drop))
        except GateFailed as error:
            failures.append(error)
            tell(f"{flavour} gets no mixed graph: {error}")
            continue
        if not point.kept and not required:
            continue  # INT8 as a whole is within the limit: a second copy of it helps nobody
        add = _add_u8 if flavour == "u8" else _add_s8
        kept = dict.fromkeys(exclude, "--exclude") | point.kept
        add(writer, graph, found.ranges, "mixed", tuple(kept))
        picked[flavour] = {
            "drop": point.drop, "judged_by": search.judged_by, "cost": point.cost,
            "unit": search.unit, "float_convolutions": kept,
        }  # fmt: skip
    if required and not picked:
        raise failures[0]
    return picked


def _pick(writer: BundleWriter, search: MixedSearch) -> Point:
    from calibration.mixed import pick
    from calibration.mixing.pareto import draw

    name = f"mixed_{search.flavour}.png"
    point = None
    try:
        point = pick(search.front, search.max_drop)
    finally:
        draw(search, point, writer.path(name))
        writer.add(name, "mixed-plot", flavour=search.flavour)
    return point


def _add_u8(
    writer: BundleWriter,
    graph: onnx.ModelProto,
    ranges: Ranges,
    precision: str,
    exclude: Collection[str] = (),
) -> None:
    """The CPU's graph, in which `exclude` stays in FP32, its probe of what clips, and the one for
    OpenVINO."""
    facts = {"precision": precision, "flavour": "u8"}
    quantized_graph = quantized(graph, ranges, "u8", exclude)
    add_graph(writer, f"{precision}_u8.onnx", quantized_graph, **facts)
    own = quantized(graph, ranges, "u8", exclude, OPENVINO)
    add_graph(writer, f"{precision}_u8_openvino.onnx", own, target=OPENVINO, **facts)
    try:
        probe = probe_graph(quantized_graph, graph, ranges)
    except Refused as error:
        tell(f"the stream's --drift will not see clipping: {error}")
    else:
        add_graph(writer, f"{precision}_u8_probe.onnx", probe, kind="probe", **facts)


def _add_s8(
    writer: BundleWriter,
    graph: onnx.ModelProto,
    ranges: Ranges,
    precision: str,
    exclude: Collection[str] = (),
) -> None:
    """TensorRT's graph, and the one for RTX, which has no INT8 kernel for depthwise convolutions;
    what stays in float is FP16."""
    facts = {"precision": precision, "flavour": "s8"}
    for name, target in ((f"{precision}_s8.onnx", None), (f"{precision}_s8_rtx.onnx", RTX)):
        typed = to_half(quantized(graph, ranges, "s8", exclude, target))
        validate_s8(typed)
        add_graph(writer, name, typed, target=target, **facts)
