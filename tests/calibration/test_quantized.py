"""From ranges to a Q/DQ graph: factors, then biases, then the scheme's rounding."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto

from calibration.graphs.placement import Flavour
from calibration.graphs.qdq import quantize
from calibration.graphs.quantized import quantized
from calibration.graphs.validator import inspect_s8
from calibration.graphs.wiring import Wiring
from calibration.ranges.channels import channel_spans
from calibration.ranges.observe import observe
from calibration.repairs.bias_correction import add_biases
from calibration.repairs.equalise import apply_factors, find_factors
from engines.failures import Refused
from engines.ranges import Ranges, RangesKey

Frames = list[NDArray[np.uint8]]
Chain = Callable[[str], ModelProto]


@pytest.fixture
def repaired(miniature: ModelProto, frames: Frames) -> Ranges:
    """Ranges with factors, and biases for both flavours that no two nodes share."""
    factors = find_factors(miniature, channel_spans(miniature, frames))
    graph = copy.deepcopy(miniature)
    apply_factors(graph, factors)
    biases = {"wide/Conv": [0.25] * 48, "atrous/Conv": [0.5] * 48}
    key = RangesKey("m", "s", "p", "f", "minmax+equalise+bias")
    return Ranges(
        key,
        len(frames),
        observe(graph, frames),
        factors=factors,
        biases={"u8": biases, "s8": biases},
    )


def raw(model: ModelProto) -> bytes:
    data: bytes = model.SerializeToString(deterministic=True)
    return data


@pytest.mark.parametrize("flavour", ["u8", "s8"])
def test_factors_then_biases_then_rounding(
    miniature: ModelProto, repaired: Ranges, flavour: Flavour
) -> None:
    before = raw(miniature)
    found = quantized(miniature, repaired, flavour)
    graph = copy.deepcopy(miniature)
    apply_factors(graph, repaired.factors)
    add_biases(graph, repaired.biases[flavour])
    assert raw(found) == raw(quantize(graph, repaired.tensors, flavour))
    assert raw(miniature) == before


@pytest.mark.parametrize("flavour", ["u8", "s8"])
def test_a_plain_scheme_is_the_plain_writer(
    miniature: ModelProto, frames: Frames, flavour: Flavour
) -> None:
    key = RangesKey("m", "s", "p", "f", "minmax+per-tensor+plain-rounding")
    ranges = Ranges(key, len(frames), observe(miniature, frames))
    expected = quantize(miniature, ranges.tensors, flavour, per_channel=False, keep_sums=False)
    assert raw(quantized(miniature, ranges, flavour)) == raw(expected)


@pytest.mark.parametrize(
    ("options", "corrected"),
    [
        ({}, {"wide", "atrous"}),
        ({"exclude": ["wide/Conv"]}, {"atrous"}),
        ({"target": "tensorrt-rtx"}, {"wide"}),
    ],
)
def test_what_stays_in_float_is_not_corrected(
    miniature: ModelProto, repaired: Ranges, options: dict[str, object], corrected: set[str]
) -> None:
    without = replace(repaired, biases={})
    graphs = [quantized(miniature, r, "s8", **options) for r in (repaired, without)]  # type: ignore[arg-type]
    after, before = (Wiring(graph) for graph in graphs)
    names = [f"{name}.bias" for name in ("wide", "atrous")]
    changed = {
        name.removesuffix(".bias")
        for name in names
        if not np.array_equal(after.value(name), before.value(name))
    }
    assert changed == corrected


def test_what_was_absorbed_moves_even_where_a_node_stays_in_float(
    miniature: ModelProto, repaired: Ranges
) -> None:
    ranges = replace(repaired, key=replace(repaired.key, method="minmax+equalise+absorb"))
    wiring = Wiring(quantized(miniature, ranges, "s8", exclude=["wide/Conv"]))
    factors = np.array(ranges.factors["wide/Conv"])
    expected = Wiring(miniature).value("wide.bias").astype(np.float64) / factors + 0.25
    found = wiring.value("wide.bias").astype(np.float64)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("target", [None, "tensorrt-rtx"])
def test_the_repaired_s8_graph_is_what_tensorrt_wants(
    miniature: ModelProto, repaired: Ranges, target: str | None
) -> None:
    assert inspect_s8(quantized(miniature, repaired, "s8", target=target)) == []


@pytest.mark.tensorrt
@pytest.mark.parametrize("method", ["minmax+equalise+bias", "minmax+per-tensor+equalise+bias"])
def test_tensorrt_builds_the_repaired_graph(
    miniature: ModelProto, repaired: Ranges, method: str
) -> None:
    from export.half import to_half
    from export.plans.builder import build_plan
    from export.plans.library import load_library
    from export.plans.settings import BuildSettings

    ranges = replace(repaired, key=replace(repaired.key, method=method))
    graph = to_half(quantized(miniature, ranges, "s8", target="tensorrt-rtx"))
    assert inspect_s8(graph) == []
    plan = build_plan(
        load_library("tensorrt-rtx"), graph.SerializeToString(), BuildSettings("int8")
    )
    assert len(plan.data) > 0


def test_repairs_of_another_network_are_refused(chain: Chain, repaired: Ranges) -> None:
    with pytest.raises(Refused, match="belong to another network"):
        quantized(chain("relu"), repaired, "u8")
    foreign = replace(repaired, factors={}, biases={"u8": {"typo/Conv": [1.0]}})
    with pytest.raises(Refused, match="biases for typo/Conv, which has no channels"):
        quantized(chain("relu"), foreign, "u8")
