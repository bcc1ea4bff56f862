"""What every graph of this project looks like from outside: frames in, logits out."""

from __future__ import annotations

from onnx import ModelProto, TensorProto, ValueInfoProto

from engines.failures import Refused
from engines.spec import ModelSpec

INPUT = "frames"  # uint8 [1, H, W, 3] RGB
OUTPUT = "logits"  # float32 [1, C, h, w]


def require_contract(model: ModelProto, spec: ModelSpec | None = None) -> None:
    """Raise `Refused` unless the graph takes frames and gives logits (of `spec`'s sizes)."""
    if len(model.graph.input) != 1 or len(model.graph.output) != 1:
        raise Refused(
            f"the graph has {len(model.graph.input)} inputs and {len(model.graph.output)} outputs: "
            "expected one input (frames) and one output (logits), with weights as initializers"
        )
    frames, logits = model.graph.input[0], model.graph.output[0]
    height, width = spec.input_size if spec else (None, None)
    _require(frames, TensorProto.UINT8, (1, height, width, 3), "uint8 [1, H, W, 3] RGB frames")
    classes, size = (len(spec.classes), spec.logits_size) if spec else (None, (None, None))
    _require(logits, TensorProto.FLOAT, (1, classes, *size), "float32 [1, classes, h, w] logits")


def shape_of(value: ValueInfoProto) -> tuple[int | str, ...]:
    """The dimensions of a graph input or output; a dynamic one is its name, or `?`."""
    dims = value.type.tensor_type.shape.dim
    return tuple(dim.dim_value or dim.dim_param or "?" for dim in dims)


def _require(
    value: ValueInfoProto, kind: int, wanted: tuple[int | None, ...], meaning: str
) -> None:
    shape, found = shape_of(value), value.type.tensor_type.elem_type
    fits = len(shape) == len(wanted) and all(
        isinstance(have, int) and want in (have, None)
        for have, want in zip(shape, wanted, strict=True)
    )
    if found != kind or not fits:
        here = f"{_type_name(found)} {_text(shape)}"
        exact = f", here {list(wanted)}" if None not in wanted else ""
        raise Refused(
            f"{value.name!r} is {here}: expected {meaning} of fixed size{exact}; export the graph "
            "again in that form (train/deployable.py shows how)"
        )


def _type_name(number: int) -> str:
    known = number in TensorProto.DataType.values()
    return TensorProto.DataType.Name(number).lower() if known else f"of an unknown type {number}"


def _text(shape: tuple[int | str, ...]) -> str:
    return f"[{', '.join(map(str, shape))}]"
