"""PyTorch -> ONNX -> engines, and the verification of every step."""
