"""Float and quantized ONNX graphs: how they hang together, are written, checked and taken apart."""
