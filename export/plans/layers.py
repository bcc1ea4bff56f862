"""What a plan really is: its fused layers, each with its types and the ONNX nodes that went in.

The text is the one-line form of NVIDIA's engine inspector. TensorRT for RTX writes it into its
verbose log while building, so precisions are known without a GPU; elsewhere the inspector gives it.
The form is nobody's promise: a text of another form gives no layers, and who needs them must say
that nothing is known.

TensorRT 10 writes a tensor's type in words ("Channel major FP16 format"), 11 and RTX as a name
("Datatype: Half"). RTX's form was seen here; that of 10 is as posted in NVIDIA/TensorRT#4020.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

# In the order of the search: UInt8 contains Int8.
TYPES = (
    ("UInt8", "UINT8"), ("INT8", "INT8"), ("FP8", "FP8"), ("BFloat16", "BF16"), ("BF16", "BF16"),
    ("FP16", "FP16"), ("Half", "FP16"), ("FP32", "FP32"), ("Float", "FP32"),
    ("Int64", "INT64"), ("INT32", "INT32"), ("Bool", "BOOL"),
)  # fmt: skip
# A pointwise convolution may have become a matrix product, named after its parts: __myl_FcAddRelu.
CONVOLUTION = re.compile(r"correlation|convolution|gemm", re.IGNORECASE)
MATRIX_PRODUCT = re.compile(r"^__myl_\w*Fc[A-Z_]")
SECTIONS = re.compile(r", (?=(?:Inputs|Constants|Outputs): \[)|, (?=ParameterType: |TacticName: )")
NAMED_FLOAT = 8  # of a summary: so many float layers are named, the rest counted


@dataclass(frozen=True)
class FusedLayer:
    """One layer of a plan.

    Args:
        name: TensorRT's own.
        kind: Its type, such as correlation or CaskConvolution; kgen is a generated kernel.
        inputs: The types of what it reads at run time: INT8, FP16, FP32, UINT8 ...
        outputs: The types of what it writes.
        onnx: The names of the ONNX nodes in it, the first being what it was made for.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    onnx: tuple[str, ...]

    @property
    def convolution(self) -> bool:
        """Whether it convolves: the layers that quantization is for."""
        return bool(CONVOLUTION.search(self.kind) or MATRIX_PRODUCT.search(self.name))

    @property
    def precision(self) -> str:
        """The type it computes in: that of its first input."""
        return self.inputs[0] if self.inputs else "none"


def parse_layers(text: str) -> tuple[FusedLayer, ...]:
    """The layers of a "Layers:" text in the order they run; () of any other text."""
    return tuple(_layers(text))


def precisions(layers: Sequence[FusedLayer]) -> dict[str, int]:
    """Precision -> how many convolutions run in it, by name."""
    counts = Counter(layer.precision for layer in layers if layer.convolution)
    return dict(sorted(counts.items()))


def node_precisions(layers: Sequence[FusedLayer], convolutions: Collection[str]) -> dict[str, str]:
    """ONNX name -> the precision it runs in, for those of `convolutions` that the text tells of.

    A generated kernel may list a convolution whose scale or bias it applies: that does not count.
    """
    known = set(convolutions)
    return {
        node: layer.precision
        for layer in layers
        if layer.convolution
        for node in layer.onnx
        if node in known
    }


def summary(layers: Sequence[FusedLayer]) -> str:
    """`58 convolutions INT8, 6 FP16: stem, ...`, those that are not in the commonest type by name;
    empty where nothing is known."""
    found = [layer for layer in layers if layer.convolution]
    kinds = Counter(layer.precision for layer in found)
    counts = sorted(kinds.items(), key=lambda item: (-item[1], item[0] != "INT8", item[0]))
    if not counts:
        return ""
    first = counts[0][0]
    text = ", ".join(f"{count} {kind}" for kind, count in counts)
    text = text.replace(f"{counts[0][1]} ", f"{counts[0][1]} convolutions ", 1)
    others = [_title(layer) for layer in found if layer.precision != first]
    if not others:
        return text
    more = f" and {len(others) - NAMED_FLOAT} more" if len(others) > NAMED_FLOAT else ""
    return f"{text}: {', '.join(others[:NAMED_FLOAT])}{more}"


def _title(layer: FusedLayer) -> str:
    """What it was made for, without the operator: backbone.conv_stem."""
    name = next((node for node in layer.onnx if node.endswith("/Conv")), layer.name)
    return name.removesuffix("/Conv")


def _layers(text: str) -> Iterator[FusedLayer]:
    for line in text.split("\n"):  # not splitlines: U+001E and U+001F separate ONNX names
        head = re.match(r"\s*Name: (.*?), LayerType: (\w+)", line)
        if head is None:
            continue
        parts = {part.partition(":")[0]: part for part in SECTIONS.split(line)[1:]}
        onnx = re.findall(r"\[ONNX Layer: (.*?)\](?=[\x1e\x1f]|\[ONNX Layer: |\s*$)", line)
        types = [_types(parts.get(section, "")) for section in ("Inputs", "Outputs")]
        yield FusedLayer(head[1], head[2], types[0], types[1], tuple(onnx))


def _types(section: str) -> tuple[str, ...]:
    words = re.findall(r"Datatype: (.*?)(?:, Format:| \}|$)", section)
    return tuple(_type(word) for word in words)


def _type(words: str) -> str:
    for written, name in TYPES:
        if written.lower() in words.lower():
            return name
    return words
