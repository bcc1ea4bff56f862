"""Which nodes stay in floating point, and why: rules as data, for each flavour and for targets.

Sources: NVIDIA's guide to explicit quantization, the heuristics of its Model Optimizer, and what
tensorrt_rtx 1.7 and onnxruntime 1.32 do with each pattern.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from onnx import ModelProto, NodeProto

from calibration.graphs.wiring import Wiring, attribute

Flavour = Literal["u8", "s8"]
FLAVOURS: tuple[Flavour, ...] = ("u8", "s8")
WEIGHTED = ("Conv", "Gemm", "MatMul")
ACTIVATIONS = ("Clip", "Relu")  # fused into the convolution before them
INTEGER_OPERATORS = frozenset(("Conv", "Clip", "Relu", "Add", "Concat", "MaxPool"))
NARROW = 16  # Model Optimizer keeps dense convolutions with fewer channels in float


@dataclass(frozen=True)
class Rule:
    """Nodes for which `applies` holds are not quantized."""

    reason: str
    applies: Callable[[NodeProto, Wiring], bool]


def is_first(node: NodeProto, wiring: Wiring) -> bool:
    """A convolution that no other one precedes: it sees the frame."""
    return node.op_type == "Conv" and not reaches_back(node, wiring, WEIGHTED)


def is_classifier(node: NodeProto, wiring: Wiring) -> bool:
    """A convolution whose result is the logits, by itself, summed with others or resized."""
    return node.op_type == "Conv" and _becomes_logits(node.output[0], wiring)


def is_image_pooling(node: NodeProto, wiring: Wiring) -> bool:
    """A node that works on the global mean: one pixel, negligible work.

    That ends where the mean meets whole maps: in image pooling where it is spread out, in
    squeeze-and-excitation where it scales the channels.
    """
    means = ("ReduceMean", "GlobalAveragePool")
    return reaches_back(node, wiring, means, stop=("Concat", "Expand", "Mul"))


def is_resize(node: NodeProto, wiring: Wiring) -> bool:
    """An interpolation."""
    return node.op_type == "Resize"


def is_depthwise(node: NodeProto, wiring: Wiring) -> bool:
    """A convolution with one input channel per group."""
    groups = attribute(node, "group", 1)
    weight = wiring.constants.get(node.input[1]) if node.op_type == "Conv" else None
    return groups > 1 and weight is not None and weight.dims[1] == 1


def is_narrow(node: NodeProto, wiring: Wiring) -> bool:
    """A dense convolution with too few channels to fill an INT8 tensor core."""
    if node.op_type != "Conv" or node.input[1] not in wiring.constants:
        return False
    outputs, inputs = wiring.shape(node.input[1])[:2]
    return attribute(node, "group", 1) == 1 and min(outputs, inputs) < NARROW


RULES: dict[str, tuple[Rule, ...]] = {
    "s8": (
        Rule("Resize: TensorRT has no bilinear one in INT8", is_resize),
        Rule("first convolution: three channels, and every later error grows from it", is_first),
        Rule("classifier: its output is the logits", is_classifier),
        Rule("image pooling or excitation: one pixel, nothing to gain", is_image_pooling),
        Rule("fewer than 16 channels: no INT8 kernel gains there", is_narrow),
    ),
    "u8": (Rule("Resize: 1.9 ms in uint8, 0.8 in float with its conversions", is_resize),),
    # Its kernels pad each INT8 depthwise convolution to groups of four channels: a plan of 55.8 MB
    # instead of 9.6 MB (MobileNetV2, 480x360). TensorRT proper fuses depthwise and pointwise
    # convolutions only if both are INT8.
    "tensorrt-rtx": (Rule("depthwise: TensorRT for RTX has no INT8 kernel for it", is_depthwise),),
}


def float_nodes(model: ModelProto, flavour: Flavour, target: str | None = None) -> dict[str, str]:
    """Node name -> reason, for the nodes that `flavour`, or `target` with it, keeps in float."""
    wiring = Wiring(model)
    rules = (*RULES[flavour], *RULES.get(target or "", ()))
    reasons: dict[str, str] = {}
    for node in model.graph.node:
        for rule in rules:
            if rule.applies(node, wiring):
                reasons.setdefault(node.name, rule.reason)
    return reasons


def _becomes_logits(tensor: str, wiring: Wiring) -> bool:
    readers = wiring.consumers[tensor]
    passed_on = bool(readers) and all(
        reader.op_type in ("Add", "Resize") and _becomes_logits(reader.output[0], wiring)
        for reader in readers
    )
    return tensor in wiring.outputs or passed_on


def reaches_back(
    node: NodeProto, wiring: Wiring, kinds: tuple[str, ...], stop: tuple[str, ...] = ()
) -> bool:
    """Whether a node of `kinds` lies upstream of `node`, not looking past nodes of `stop`."""
    pending, seen = list(node.input), set[str]()
    while pending:
        producer = wiring.producer.get(pending.pop())
        if producer is None or producer.name in seen or producer.op_type in stop:
            continue
        if producer.op_type in kinds:
            return True
        seen.add(producer.name)
        pending.extend(producer.input)
    return False
