"""PyTorch -> ONNX: one uint8 NHWC graph with the normalisation inside and stride-4 logits out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx
from onnx import ModelProto

from engines.spec import ModelSpec
from export.contract import INPUT, OUTPUT, require_contract
from export.naming import rename, strip

if TYPE_CHECKING:
    from torch import nn

# 19 is the first whose QuantizeLinear takes FP16 scales; JetPack 6's TensorRT 10.3 reads up to 20.
OPSET = 19


def export_graph(model: nn.Module, spec: ModelSpec) -> ModelProto:
    """Export a deployable module in eval mode.

    The module takes uint8 [1, H, W, 3] and gives float32 [1, C, ceil(H/4), ceil(W/4)]
    (`train.deployable.Deployable`). The graph is simplified, renamed by module path, checked by
    ONNX's full checker and free of everything that tells of this machine; equal weights give equal
    graphs.
    """
    model_proto = simplify(_trace(model, spec))
    onnx.checker.check_model(model_proto, full_check=True)
    require_contract(model_proto, spec)
    return model_proto


def simplify(model: ModelProto) -> ModelProto:
    """Fold constants and drop needless nodes; node and tensor names stay as they are."""
    import onnxsim

    simplified: ModelProto = onnxsim.simplify(model)[0]
    strip(simplified)  # it may leave a note of its own
    return simplified


def _trace(model: nn.Module, spec: ModelSpec) -> ModelProto:
    import torch

    if model.training:
        raise ValueError("export needs the module in eval mode: batch norm cannot be folded before")
    frames = torch.zeros(1, *spec.input_size, 3, dtype=torch.uint8)
    program = torch.onnx.export(
        model,
        (frames,),
        dynamo=True,
        opset_version=OPSET,
        input_names=[INPUT],
        output_names=[OUTPUT],
        verbose=False,
    )
    assert program is not None  # dynamo=True always returns a program
    model_proto: ModelProto = program.model_proto
    tensors = {name for name, _ in (*model.named_parameters(), *model.named_buffers())}
    rename(model_proto, tensors)
    strip(model_proto)
    return model_proto
