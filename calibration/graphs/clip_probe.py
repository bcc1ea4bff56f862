"""The CPU's INT8 graph with the codes of a few layers as further outputs, to see what clips.

Which layers: those whose codes clip only when a value leaves its range. A ReLU6 ends at 6 by
design, so its highest code says nothing, nor does code 0 behind any ReLU. What is left, the linear
bottlenecks and sums (both edges) and plain ReLUs (the upper edge), is taken evenly over the depth:
the first layers tell of light and noise, the last of content. Not the logits: cutting the largest
of them hardly changes which is the largest, and a single CamVid frame cuts 0.1 % of them anyway.
"""

from __future__ import annotations

import dataclasses
import json

import numpy as np
from onnx import ModelProto, TensorProto, helper

from calibration.graphs.wiring import Wiring
from engines.clip_probe import METADATA, Layer
from engines.failures import Refused
from engines.ranges import Ranges

LAYERS = 8  # copied and counted they make a probed frame 1.35 times as dear (bundled model)
LOWEST, HIGHEST = 0, 255  # codes


def probe_graph(
    quantized: ModelProto, float_graph: ModelProto, ranges: Ranges, layers: int = LAYERS
) -> ModelProto:
    """A copy of a u8 Q/DQ graph of `float_graph` that also gives `layers` layers' codes.

    What each output is stands in the graph's metadata, for `engines.clip_probe`.
    """
    telling = telling_layers(quantized, float_graph, ranges)
    if not telling:
        raise Refused("no layer of this INT8 graph tells of clipping: it quantizes none that can")
    places = np.unique(np.linspace(0, len(telling) - 1, layers).round().astype(int))
    outputs = list(telling)
    chosen = {outputs[place]: telling[outputs[place]] for place in places}
    result = ModelProto()
    result.CopyFrom(quantized)
    for output in chosen:
        value = helper.make_tensor_value_info(output, TensorProto.UINT8, None)
        result.graph.output.append(value)
    data = {output: dataclasses.asdict(layer) for output, layer in chosen.items()}
    helper.set_model_props(result, {METADATA: json.dumps(data)})
    return result


def telling_layers(
    quantized: ModelProto, float_graph: ModelProto, ranges: Ranges
) -> dict[str, Layer]:
    """Tensor of uint8 codes -> its layer, in graph order, for all that clip by accident only."""
    wiring = Wiring(quantized)
    silent = {node.output[0] for node in float_graph.graph.node if node.op_type == "Clip"}
    silent |= {value.name for value in float_graph.graph.output}
    result = {}
    for node in wiring.nodes:
        name = node.input[0]
        if node.op_type != "QuantizeLinear" or name in silent or name not in ranges.tensors:
            continue
        zero = wiring.value(node.input[2])
        if zero.dtype == np.uint8 and zero.ndim == 0:
            edges = (LOWEST, HIGHEST) if LOWEST < int(zero) < HIGHEST else (HIGHEST,)
            expected = ranges.clipped.get(name, 0.0)
            result[node.output[0]] = Layer(name, edges, expected)
    return result
