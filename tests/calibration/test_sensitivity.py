"""A layer's own error, against a slow twin; and that one wrong scale has one owner (T14)."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper

from calibration.fidelity import Reference
from calibration.graphs.execution import load
from calibration.graphs.pieces import Pieces, layers
from calibration.graphs.placement import Flavour
from calibration.graphs.qdq import quantize
from calibration.graphs.wiring import Wiring
from calibration.ranges.observe import expose, observe
from calibration.ranges.tally import Range
from calibration.sensitivity import own_errors, rank_layers, with_one_quantized
from calibration.sqnr import Sqnr
from engines.failures import Refused
from export.half import to_half

Frames = list[NDArray[np.uint8]]
FLAVOURS: tuple[Flavour, ...] = ("u8", "s8")


@pytest.fixture(scope="module")
def ranges(miniature: ModelProto, frames: Frames) -> dict[str, Range]:
    return observe(miniature, frames)


@pytest.fixture(scope="module")
def quantized(miniature: ModelProto, ranges: dict[str, Range]) -> dict[str, ModelProto]:
    u8, s8 = (quantize(miniature, ranges, flavour) for flavour in FLAVOURS)
    return {"u8": u8, "s8": s8, "s8 half": to_half(s8)}


def with_scale(model: ModelProto, name: str, factor: float) -> ModelProto:
    """A copy with one scale multiplied."""
    result = ModelProto()
    result.CopyFrom(model)
    tensor = next(item for item in result.graph.initializer if item.name == name)
    value = numpy_helper.to_array(tensor)
    tensor.CopyFrom(numpy_helper.from_array((value * factor).astype(value.dtype), name))
    return result


def test_layers_end_in_their_activations(miniature: ModelProto) -> None:
    results = {layer.node.name: layer.result for layer in layers(miniature)}
    assert results["stem/Conv"] == "stem/Clip"
    assert results["narrow/Conv"] == "narrow/Conv"
    assert results["residual/Add"] == "residual/Add"
    assert results["classifier/Conv"] == "logits"
    assert not {"Cast", "Div", "stem/Clip"} & results.keys()


@pytest.mark.parametrize("which", ["u8", "s8", "s8 half"])
def test_good_graphs_have_small_errors_everywhere(
    miniature: ModelProto, quantized: dict[str, ModelProto], frames: Frames, which: str
) -> None:
    errors = own_errors(Pieces(miniature, quantized[which]), frames)
    assert {"depth/Conv", "wide/Conv", "project/Conv"} <= errors.keys()
    assert min(sqnr for sqnr, _ in errors.values()) > 25
    assert ("classifier/Conv" in errors) == (which == "u8")  # elsewhere it is in float


def test_an_own_error_equals_that_of_the_numpy_twin(
    miniature: ModelProto, quantized: dict[str, ModelProto], frames: Frames
) -> None:
    """`branch` in s8: its weights rounded per channel, its input and result in float."""
    wiring = Wiring(miniature)
    weight = np.asarray(wiring.value("branch.weight"), np.float32)[:, :, 0, 0]
    bias = np.asarray(wiring.value("branch.bias"), np.float32)
    scale = np.abs(weight).max(axis=1, keepdims=True) / 127
    rounded = np.rint(weight / scale) * scale
    names = ["residual/Add", "branch/Relu"]
    session = load(expose(miniature, names))
    ratio = Sqnr()
    for frame in frames:
        data, exact = session.run(names, {"frames": frame[None]})
        found = np.einsum("oi,nihw->nohw", rounded, data) + bias[:, None, None]
        ratio.add(exact, np.maximum(found, 0))
    errors = own_errors(Pieces(miniature, quantized["s8"]), frames)
    sqnr, share = errors["branch/Conv"]
    assert sqnr == pytest.approx(ratio.decibel, abs=0.05)
    assert share == 1


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_errors_of_weights_and_of_rounding_are_told_apart(
    miniature: ModelProto, quantized: dict[str, ModelProto], frames: Frames, flavour: Flavour
) -> None:
    for scale, low, high in (("atrous.weight_scale", 0.9, 1), ("atrous/Clip_scale", 0, 0.1)):
        bad = with_scale(quantized[flavour], scale, 4)
        _, share = own_errors(Pieces(miniature, bad), frames[:2])["atrous/Conv"]
        assert low <= share <= high


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize(
    ("scale", "owner", "factor"),
    [
        ("wide/Clip_scale", "wide/Conv", 0.25),
        ("narrow/Conv_scale", "narrow/Conv", 8),
        ("atrous.weight_scale", "atrous/Conv", 0.25),
    ],
)
def test_a_wrong_scale_ranks_its_layer_first(
    miniature: ModelProto,
    quantized: dict[str, ModelProto],
    frames: Frames,
    flavour: Flavour,
    scale: str,
    owner: str,
    factor: float,
) -> None:
    bad = with_scale(quantized[flavour], scale, factor)
    worst, *others = rank_layers(miniature, bad, frames[:1])
    assert worst.name == owner
    assert worst.sqnr_db < min(row.sqnr_db for row in others) - 6


def test_the_first_layer_of_the_cpu_graph_is_found_behind_its_rewrite(
    miniature: ModelProto, quantized: dict[str, ModelProto], frames: Frames
) -> None:
    bad = with_scale(quantized["u8"], "stem.weight_scale", 2)
    worst = rank_layers(miniature, bad, frames[:1])[0]
    assert (worst.name, worst.kind) == ("stem/Conv", "first")


def test_rows_say_what_kind_of_layer_it_is(
    miniature: ModelProto, quantized: dict[str, ModelProto], frames: Frames
) -> None:
    rows = {row.name: row for row in rank_layers(miniature, quantized["u8"], frames[:1])}
    kinds = {name: (row.kind, row.rate) for name, row in rows.items()}
    assert kinds["stem/Conv"] == ("first", 1)
    assert kinds["atrous/Conv"] == ("depthwise", 2)
    assert kinds["wide/Conv"] == ("pointwise", 1)
    assert kinds["classifier/Conv"] == ("classifier", 1)
    assert kinds["pooling/Conv"] == ("pooling", 1)
    assert kinds["residual/Add"] == ("add", 1)


def test_only_one_layer_is_quantized(
    miniature: ModelProto, quantized: dict[str, ModelProto], frames: Frames
) -> None:
    """Noise powers of the layers add up to that of the whole graph, within 3 dB."""
    reference = Reference(miniature, frames)
    pieces = Pieces(miniature, quantized["u8"])
    alone = [reference.score(with_one_quantized(pieces, p)).sqnr_db for p in pieces.pieces()]
    together = -10 * np.log10(sum(10 ** (-ratio / 10) for ratio in alone))
    assert together == pytest.approx(reference.score(quantized["u8"]).sqnr_db, abs=3)


def test_graphs_of_two_networks_are_refused(
    miniature: ModelProto, quantized: dict[str, ModelProto]
) -> None:
    other = ModelProto()
    other.CopyFrom(quantized["s8"])
    for node in other.graph.node:
        node.output[:] = [f"another.{name}" for name in node.output]
        node.input[:] = [f"another.{name}" for name in node.input]
    with pytest.raises(Refused, match="not of one build"):
        Pieces(miniature, other)
