"""TensorRT plans: one path from a typed ONNX graph for TensorRT 10.3 to 11.x and for RTX."""
