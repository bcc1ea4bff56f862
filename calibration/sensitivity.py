"""Which layers a quantized network suffers from: each layer's own error, and what it does.

Two measures, both with only this one layer quantized and everything else in float (see `pieces`):
the error of the layer's own result, for all layers in one pass, and the error of the logits and
masks that it leads to. They differ: a coarse result may not matter, and a fine one in the wrong
place may. Layers are ranked by the second, in decibels, as masks are too coarse to tell most layers
apart. The logits' noise powers of single layers add up, nearly, to that of the quantized network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper
from tqdm import tqdm

from calibration.fidelity import Reference
from calibration.graphs.execution import load
from calibration.graphs.pieces import Piece, Pieces
from calibration.graphs.placement import is_classifier, is_depthwise, is_first, is_image_pooling
from calibration.graphs.wiring import Wiring, attribute
from calibration.sqnr import decibel
from scenes.dataset import Frame


@dataclass(frozen=True)
class LayerError:
    """What quantizing one layer does, with the others in float.

    `sqnr_db` is the signal over noise of its own result, `logits_db` of the logits; `miou_drop` are
    the points that the mean IoU with FP32's masks loses. `rate` is a convolution's dilation.
    `from_weights` is the share of its own noise power that comes from its weights; the rest comes
    from the rounding and clipping of its result.
    """

    name: str
    kind: str
    rate: int
    sqnr_db: float
    logits_db: float
    miou_drop: float
    from_weights: float = 0.0


def rank_layers(
    float_graph: ModelProto,
    quantized_graph: ModelProto,
    frames: Sequence[Frame],
    reference: Reference | None = None,
) -> list[LayerError]:
    """The quantized layers, the one that hurts most first.

    Args:
        float_graph: What was quantized; where a scheme equalises, after that.
        quantized_graph: Its Q/DQ graph of either flavour, also with FP16 float layers.
        frames: Frames [H, W, 3] at the graph's input size. Each goes through the network once per
            layer: few are enough, as an error is a mean over many pixels.
        reference: FP32's answers on the same frames, if they are there already.
    """
    reference = reference or Reference(float_graph, frames)
    pieces = Pieces(float_graph, quantized_graph)
    wiring = Wiring(float_graph)
    own = own_errors(pieces, frames)
    rows = []
    for piece in tqdm(list(pieces.pieces()), "sensitivity", unit="layer", disable=None):
        fidelity = reference.score(with_one_quantized(pieces, piece))
        node = piece.layer.node
        drop = 100 - fidelity.miou
        kind, dilation = kind_of(node, wiring), rate_of(node)
        sqnr, share = own[node.name]
        rows.append(LayerError(node.name, kind, dilation, sqnr, fidelity.sqnr_db, drop, share))
    return sorted(rows, key=lambda row: (row.logits_db, row.sqnr_db, row.name))


def own_errors(pieces: Pieces, frames: Sequence[Frame]) -> dict[str, tuple[float, float]]:
    """Node name -> SQNR of its layer's own result, in dB, and the share of the noise from weights.

    All layers in one pass. The powers are summed inside the graph: it gives three numbers per
    layer, and no tensor is kept.
    """
    found = list(pieces.pieces())
    session = load(_with_powers(pieces, found), lean=True)
    feed = pieces.model.graph.input[0].name
    powers = np.zeros((len(found), 3))
    for frame in tqdm(frames, "layers' own errors", unit="frame", disable=None):
        powers += np.reshape(session.run(None, {feed: frame[None]}), (-1, 3))
    errors = {}
    for piece, (signal, noise, weights) in zip(found, powers.tolist(), strict=True):
        share = min(weights / noise, 1.0) if noise and piece.split else 0.0
        errors[piece.layer.node.name] = decibel(signal, noise), share
    return errors


def _with_powers(pieces: Pieces, found: list[Piece]) -> ModelProto:
    """The float graph with other outputs: of each piece the powers of signal, noise, weight noise.

    The CPU's graph leaves a fused activation to the rounding, which clips; here it is put back.
    """
    model = pieces.graft(found)
    producer = Wiring(pieces.model).producer
    nodes, outputs = model.graph.node, model.graph.output
    del outputs[:]

    def add(kind: str, name: str, *inputs: str, **options: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [name], name, **options))
        return name

    for piece in found:
        exact, raw = piece.layer.result, piece.raw
        activation = producer[exact]
        if activation is not piece.layer.node:
            raw = add(activation.op_type, f"{raw}:activated", raw, *activation.input[1:])
        noise = add("Sub", f"{piece.rounded}:noise", exact, piece.rounded)
        weights = add("Sub", f"{piece.rounded}:weights", exact, raw)
        for tensor, what in ((exact, "signal"), (noise, "power"), (weights, "power")):
            power = add("ReduceSumSquare", f"{piece.rounded}:{tensor}:{what}", tensor, keepdims=0)
            outputs.append(helper.make_tensor_value_info(power, TensorProto.FLOAT, []))
    return model


def with_one_quantized(pieces: Pieces, piece: Piece) -> ModelProto:
    """The float graph in which one layer's result is the quantized one's."""
    exact = piece.layer.result
    readers = {node.name for node in Wiring(pieces.model).consumers[exact]}
    model = pieces.graft([piece])
    for node in model.graph.node:
        if node.name in readers:
            replacement = piece.raw if pieces.reads_raw(node, piece) else piece.rounded
            node.input[:] = [replacement if name == exact else name for name in node.input]
    for output in model.graph.output:
        if output.name == exact:
            output.name = piece.rounded
    return model


def kind_of(node: NodeProto, wiring: Wiring) -> str:
    """What a reader calls a layer; the ends of the network by their place, not their shape."""
    places = (("first", is_first), ("classifier", is_classifier), ("depthwise", is_depthwise))
    named = next((name for name, applies in places if applies(node, wiring)), None)
    if named or node.op_type != "Conv":
        return named or node.op_type.lower()
    if is_image_pooling(node, wiring):
        return "pooling"
    if attribute(node, "group", 1) > 1:
        return "grouped"
    return "pointwise" if wiring.shape(node.input[1])[2:] == (1, 1) else "dense"


def rate_of(node: NodeProto) -> int:
    """The dilation of a convolution; 1 for what has none."""
    return next((item.ints[0] for item in node.attribute if item.name == "dilations"), 1)
