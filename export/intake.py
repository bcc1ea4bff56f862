"""ONNX files from elsewhere (`--onnx F`): checked before any library reads more than the protobuf.

A graph can name files outside its folder, declare tensors of terabytes, or call native code
through custom operators. All of that is refused here, with the reason; what comes out is a
self-contained graph in this project's form.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import AttributeProto, ModelProto, TensorProto, numpy_helper

from calibration.repairs.batch_norm import fold_batch_norms
from engines.failures import MALFORMED, Refused
from engines.spec import ModelSpec
from export.contract import INPUT, OUTPUT, require_contract
from export.external_data import embed
from export.graph import OPSET
from export.naming import strip
from export.source import MAX_BYTES, require_size

MAX_NODES = 20_000  # Xception-71 has 300; a ResNet-152 quantized with Q/DQ has 2,000
MAX_ELEMENTS = 2**30  # of one tensor; 256 channels of a 2048x1024 frame at stride 1 have 2**29
MAX_RANK = 16  # TensorRT's tensors have at most 8 dimensions
OLDEST_OPSET = 13  # per-channel QuantizeLinear
CONTROL_FLOW = ("If", "Loop", "Scan")
INNER = (AttributeProto.GRAPH, AttributeProto.GRAPHS, AttributeProto.SPARSE_TENSOR)  # not checked


def read_untrusted(path: Path, spec: ModelSpec | None = None) -> ModelProto:
    """Read and check an ONNX file that may be hostile; anything doubtful raises `Refused`.

    With a `spec`, the graph's sizes must be those of the spec.
    External data inside the file's own folder is embedded, the input and output are renamed to
    `frames` and `logits`, unnamed nodes get names, batch norms are folded into the convolutions
    before them, and older opsets are raised to this project's.
    """
    try:
        return _checked(_parse(path), path, spec)
    except UnicodeDecodeError as error:  # protobuf decodes a text when it is first looked at
        raise Refused(f"{path} holds a name that is no text: the file is damaged") from error


def _checked(model: ModelProto, path: Path, spec: ModelSpec | None) -> ModelProto:
    _check_operators(model, path)
    embed(model, path.absolute().parent, MAX_BYTES)
    for tensor in _tensors(model):
        _check_tensor(tensor, path)
    model = _raise_opset(model, path)
    _check_graph(model, path)
    require_contract(model, spec)
    strip(model)
    _rename_ends(model)
    _name_nodes(model)
    fold_batch_norms(model)
    return model


def _parse(path: Path) -> ModelProto:
    try:
        require_size(path)
        model: ModelProto = ModelProto.FromString(path.read_bytes())
    except OSError as error:
        raise Refused(f"{path} cannot be read ({error.strerror}): check the path") from error
    except DecodeError as error:
        raise Refused(f"{path} is not an ONNX file, or is cut off: export it again") from error
    if not model.graph.node:
        raise Refused(f"{path} holds no graph: is it an ONNX file?")
    return model


def _check_operators(model: ModelProto, path: Path) -> None:
    for what, parts in (("nodes", model.graph.node), ("constants", model.graph.initializer)):
        if len(parts) > MAX_NODES:
            raise Refused(f"{path} has {len(parts):,} {what}, the limit is {MAX_NODES:,}")
    if model.functions:
        raise Refused(f"{path} defines functions of its own: inline them with onnx.inliner first")
    for node in model.graph.node:
        if node.domain not in ("", "ai.onnx"):
            raise Refused(
                f"node {node.name!r} is {node.domain}.{node.op_type}, a custom operator: only "
                "standard ONNX operators are accepted"
            )
        if node.op_type in CONTROL_FLOW:
            raise Refused(f"node {node.name!r} is {node.op_type}: control flow is not accepted")
        if any(item.type in INNER for item in node.attribute) or not node.output:
            raise Refused(f"node {node.name!r} holds a graph of its own, or gives nothing")


def _tensors(model: ModelProto) -> Iterator[TensorProto]:
    if model.graph.sparse_initializer:
        raise Refused("sparse initializers are not accepted: export the weights dense")
    yield from model.graph.initializer
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def _check_tensor(tensor: TensorProto, path: Path) -> None:
    if min(tensor.dims, default=0) < 0 or _is_huge(tensor.dims):
        raise Refused(f"tensor {tensor.name!r} of {path} declares the shape {_brief(tensor.dims)}")
    try:
        numpy_helper.to_array(tensor)
    except MALFORMED as error:
        raise Refused(
            f"tensor {tensor.name!r} of {path} declares {math.prod(tensor.dims)} elements and "
            f"holds {len(tensor.raw_data)} bytes ({error}): the file is damaged"
        ) from error


def _raise_opset(model: ModelProto, path: Path) -> ModelProto:
    version = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
    if version < OLDEST_OPSET:
        raise Refused(
            f"{path} has opset {version}: the oldest accepted is {OLDEST_OPSET}, the best "
            f"{OPSET}; export it with opset_version={OPSET}"
        )
    if version >= OPSET:
        return model
    try:
        return onnx.version_converter.convert_version(model, OPSET)
    except (RuntimeError, onnx.version_converter.ConvertError) as error:
        raise Refused(
            f"{path} has opset {version} and cannot be raised to {OPSET} ({error}): export it with "
            f"opset_version={OPSET}"
        ) from error


def _check_graph(model: ModelProto, path: Path) -> None:
    try:
        onnx.checker.check_model(model)
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        reason = str(error).strip().splitlines()[0]
        raise Refused(f"{path} is not a valid graph ({reason}): export it again") from error
    for value in inferred.graph.value_info:
        dims = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        if _is_huge(dims):
            raise Refused(f"tensor {value.name!r} of {path} would have the shape {_brief(dims)}")


def _is_huge(dims: Sequence[int]) -> bool:
    """The product comes last: that of 100,000 numbers of 62 bits takes a minute."""
    return len(dims) > MAX_RANK or math.prod(dims) > MAX_ELEMENTS


def _brief(dims: Sequence[int]) -> str:
    """The shape, or its beginning, in the form of a list."""
    more = f", ... {len(dims)} in all" if len(dims) > MAX_RANK else ""
    return f"[{', '.join(map(str, dims[:MAX_RANK]))}{more}]"


def _rename_ends(model: ModelProto) -> None:
    names = {model.graph.input[0].name: INPUT, model.graph.output[0].name: OUTPUT}
    inner = {name for node in model.graph.node for name in (*node.input, *node.output)}
    for old, new in names.items():
        if old != new and new in inner:
            raise Refused(f"an inner tensor is called {new!r}, which is reserved: rename it")
    model.graph.input[0].name, model.graph.output[0].name = INPUT, OUTPUT
    for node in model.graph.node:
        for tensors in (node.input, node.output):
            tensors[:] = [names.get(tensor, tensor) for tensor in tensors]


def _name_nodes(model: ModelProto) -> None:
    taken: set[str] = set()
    for node in model.graph.node:
        if not node.name or node.name in taken:
            node.name = f"{node.output[0]}/{node.op_type}"
        taken.add(node.name)
