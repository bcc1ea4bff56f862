"""Float graph + everything that one calibration found out -> the Q/DQ graph of that scheme."""

from __future__ import annotations

from collections.abc import Collection

from onnx import ModelProto

from calibration.placement import Flavour
from calibration.qdq import quantize
from calibration.scheme import Scheme
from engines.ranges import Ranges


def quantized(
    graph: ModelProto,
    ranges: Ranges,
    flavour: Flavour,
    exclude: Collection[str] = (),
    target: str | None = None,
) -> ModelProto:
    """A Q/DQ copy of a float graph as `ranges.key.method` says."""
    scheme = Scheme.parse(ranges.key.method)
    return quantize(
        graph, ranges.tensors, flavour, exclude, target, scheme.per_channel, scheme.keep_sums
    )
