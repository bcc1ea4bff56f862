"""Float graph + everything that one calibration found out -> the Q/DQ graph of that scheme."""

from __future__ import annotations

import copy
from collections.abc import Collection

from onnx import ModelProto

from calibration.graphs.placement import Flavour, float_nodes
from calibration.graphs.qdq import quantize
from calibration.repairs.bias_correction import add_biases, check_channels
from calibration.repairs.equalise import apply_factors
from calibration.scheme import Scheme
from engines.ranges import Ranges


def quantized(
    graph: ModelProto,
    ranges: Ranges,
    flavour: Flavour,
    exclude: Collection[str] = (),
    target: str | None = None,
) -> ModelProto:
    """A Q/DQ copy of a float graph, repaired and rounded as `ranges` say; the graph stays.

    A correction of what rounding a node's weights does is left out where the node stays in float.
    Ranges, factors, biases or names of another network raise `Refused`.
    """
    scheme = Scheme.parse(ranges.key.method)
    repaired = copy.deepcopy(graph)
    apply_factors(repaired, ranges.factors)
    biases = ranges.biases.get(flavour, {})
    check_channels(repaired, biases, "biases")
    # What absorption moved is in the same numbers, and the float function needs it.
    kept = set() if scheme.absorb else {*exclude, *float_nodes(repaired, flavour, target)}
    add_biases(repaired, {name: added for name, added in biases.items() if name not in kept})
    return quantize(
        repaired, ranges.tensors, flavour, exclude, target, scheme.per_channel, scheme.keep_sums
    )
