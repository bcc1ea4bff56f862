"""Every atrous-separable layer of the FP32 graph against the explicit loop of `atrous_oracle`.

With a checkpoint the loop takes weights, rate and padding from the network, so it also finds a
graph that was exported wrongly; without, it takes them from the graph and checks the arithmetic.
Each layer is given what the graph itself computed before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, NodeProto
from tqdm import tqdm

from calibration.graphs.wiring import Wiring, attribute
from calibration.sensitivity import rate_of
from export.atrous_oracle import Padding
from export.verification.difference import Floats
from export.verification.places import Place
from export.verification.windows import Convolution, Limits, largest_difference

UNBOUNDED: Limits = (-np.inf, np.inf)


@dataclass(frozen=True)
class OracleError:
    """The largest difference to the loop as a share of the result's range, over `positions` of
    the map's `of`; None where it is not finite."""

    name: str
    kind: str
    rate: int
    max_abs: float | None
    positions: int
    of: int


def oracle_errors(
    graph: ModelProto,
    places: list[Place],
    made: Mapping[str, Convolution],
    found: Mapping[str, Floats],
) -> list[OracleError]:
    """The separable layers among `made`, in depth order; `found` are the graph's results."""
    wiring = Wiring(graph)
    chosen = [place for place in places if place.separable and place.name in made]
    errors = []
    for place in tqdm(chosen, "explicit loop", unit="layer", disable=None, leave=False):
        result = found[place.result]
        limits = limits_of(wiring.producer[place.result], wiring)
        worst, positions = largest_difference(made[place.name], limits, result)
        extent = float(result.max() - result.min())
        share = worst / extent if extent else worst
        area = place.size[0] * place.size[1]
        error = share if np.isfinite(share) else None
        errors.append(OracleError(place.name, place.kind, place.rate, error, positions, area))
    return errors


def limits_of(node: NodeProto, wiring: Wiring) -> Limits:
    """What an activation lets through; everything for another node."""
    if node.op_type == "Relu":
        return 0.0, np.inf
    if node.op_type != "Clip":
        return UNBOUNDED
    low, high = (
        float(wiring.value(node.input[slot])) if len(node.input) > slot and node.input[slot] else x
        for slot, x in zip((1, 2), UNBOUNDED, strict=True)
    )
    return low, high


def described_by(
    graph: ModelProto, places: list[Place], results: Mapping[str, Floats]
) -> dict[str, Convolution]:
    """Node name -> how the graph says that it is computed, for separable layers whose input is
    among `results`."""
    wiring = Wiring(graph)
    nodes = {node.name: node for node in wiring.nodes}
    chosen = (nodes[place.name] for place in places if place.separable)
    return {
        node.name: _described(node, wiring, results[node.input[0]])
        for node in chosen
        if node.input[0] in results
    }


def _described(node: NodeProto, wiring: Wiring, features: Floats) -> Convolution:
    weight = wiring.value(node.input[1]).astype(np.float64)
    biased = len(node.input) > 2 and node.input[2]
    options = {item.name: list(item.ints) for item in node.attribute}
    above, left, below, right = options.get("pads", [0] * 4)
    padding: Padding = (above, left, below, right)
    return Convolution(
        features,
        weight,
        wiring.value(node.input[2]).astype(np.float64) if biased else np.zeros(len(weight)),
        rate=rate_of(node),
        stride=options.get("strides", [1])[0],
        padding=padding,
        groups=attribute(node, "group", 1),
    )
