"""Fused layers read from NVIDIA's one-line form: RTX's, seen here, and that of TensorRT 10."""

from __future__ import annotations

from export.plans.layers import FusedLayer, node_precisions, parse_layers, precisions, summary
from tests.export.fake_tensorrt import LAYERS_OF_10

RTX = (
    "Layers:\n"
    "Name: __myl_CastTran_myl0_0, LayerType: kgen, Inputs: [ { Name: frames, Dimensions: "
    "[1,8,8,3], Strides: [192,24,3,1], StrideOrder: [3,2,1,0], Datatype: UInt8, Format: (Linear) "
    "Row major linear format }], Constants: [ { Name: c, Dimensions: [1,3,1,1], Datatype: Half, "
    "Format: (NHWC) Channel major format }], Outputs: [ { Name: q, Dimensions: [1,3,8,8], "
    "Datatype: Half, Format: (NHWC) Channel major format }], TacticName: __myl_CastTran_0xb7, "
    "StreamId: 0, Metadata: [ONNX Layer: cast]\x1f[ONNX Layer: stem/Conv]\n"
    "Name: stem/Conv_U1_myl0_1, LayerType: correlation, Inputs: [ { Name: q, Dimensions: "
    "[1,3,8,8], Datatype: Half, Format: (NHWC) Channel major format }], Constants: [ { Name: w, "
    "Dimensions: [8,3,3,3], Datatype: Half, Format: (NHWC) Channel major format }], Outputs: [ "
    "{ Name: a, Dimensions: [1,8,8,8], Datatype: Half, Format: (NHWC) }], TacticName: "
    "__myelin_CASK_STUB, StreamId: 0, Metadata: [ONNX Layer: stem/Conv]\x1f[ONNX Layer: relu]\n"
    "Name: block/Conv_U2_myl0_2, LayerType: correlation, Inputs: [ { Name: a, Dimensions: "
    "[1,8,8,8], Datatype: Int8, Format: (NHWC) }, { Name: s, Dimensions: [1,8,8,8], Datatype: "
    "Half, Format: (NHWC) }], Constants: [], Outputs: [ { Name: b, Dimensions: [1,8,8,8], "
    "Datatype: Float, Format: (NHWC) }], TacticName: t, StreamId: 0, Metadata: "
    "[ONNX Layer: block/Conv]\n"
    "Name: __myl_FcAddRelu_myl0_3, LayerType: runtime_fusion, Inputs: [ { Name: b, Dimensions: "
    "[1,8,64], Datatype: Int8, Format: (Transposed) }], Constants: [], Outputs: [ { Name: logits, "
    "Dimensions: [1,8,64], Datatype: Float, Format: (Linear) }], TacticName: t, StreamId: 0, "
    "Metadata: [ONNX Layer: head/Conv]\n"
    "Name: __mye15_myl0_4, LayerType: signal, Inputs: [], Constants: [], Outputs: [], TacticName: "
    ", StreamId: 0, EventId: 5, Metadata: \n"
    "\nI/O Tensors:\n Name: frames, IOMode: Input, DataType: UInt8, Dimensions: [1,8,8,3]\n"
)


def test_a_layer_has_its_types_and_the_nodes_that_went_in() -> None:
    layers = parse_layers(RTX)
    assert [layer.kind for layer in layers] == [
        "kgen", "correlation", "correlation", "runtime_fusion", "signal",
    ]  # fmt: skip
    assert layers[0] == FusedLayer(
        "__myl_CastTran_myl0_0", "kgen", ("UINT8",), ("FP16",), ("cast", "stem/Conv")
    )
    assert layers[2].inputs == ("INT8", "FP16")
    assert layers[2].outputs == ("FP32",)
    assert layers[4].precision == "none"


def test_convolutions_are_counted_by_what_they_read_and_the_exceptions_named() -> None:
    layers = parse_layers(RTX)
    assert precisions(layers) == {"FP16": 1, "INT8": 2}
    assert summary(layers) == "2 convolutions INT8, 1 FP16: stem"
    assert node_precisions(layers, ["stem/Conv", "block/Conv", "head/Conv", "other/Conv"]) == {
        "stem/Conv": "FP16", "block/Conv": "INT8", "head/Conv": "INT8",
    }  # fmt: skip


def test_types_in_words_are_read_as_tensorrt_10_writes_them() -> None:
    reformat, stem, block = parse_layers(LAYERS_OF_10)
    assert (reformat.kind, reformat.inputs, reformat.outputs) == ("Reformat", ("UINT8",), ("FP16",))
    assert stem.onnx == ("stem/Conv", "stem/Relu")
    assert (stem.inputs, stem.outputs) == (("FP16",), ("INT8",))
    assert (block.inputs, block.outputs) == (("INT8",), ("FP32",))
    assert precisions((reformat, stem, block)) == {"FP16": 1, "INT8": 1}


def test_many_exceptions_are_counted_and_other_texts_tell_nothing() -> None:
    layer = FusedLayer("x", "correlation", ("FP16",), ("FP16",), ("x/Conv",))
    int8 = FusedLayer("y", "correlation", ("INT8",), ("FP16",), ("y/Conv",))
    assert summary([layer] * 10 + [int8] * 11) == (
        "11 convolutions INT8, 10 FP16: x, x, x, x, x, x, x, x and 2 more"
    )
    assert summary([int8] * 3) == "3 convolutions INT8"
    assert parse_layers("Engine Layer Information:\nLayer(CaskConvolution): stem") == ()
    assert summary(()) == ""
