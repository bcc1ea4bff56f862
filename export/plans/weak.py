"""Weak typing: the way around a strongly typed build that fails, on TensorRT 10.x alone.

The graph is typed FP32 (with FP32 scales in its Q/DQ pairs) and flags allow the builder to run it
in FP16 and INT8. Reported as needed on an Orin with TensorRT 10.16, whose compiler finds no type
for DequantizeLinear with FP16 scales (NVIDIA/TensorRT#4832). TensorRT then chooses each layer's
precision by its speed, so a layer may stay in FP32; the list of layers tells. Never tried here: it
needs a GPU with TensorRT 10.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from export.plans.settings import BuildSettings


def network_flags(trt: ModuleType, settings: BuildSettings) -> int:
    """The argument of `create_network`. The flag's number is 1 on TensorRT 10, 0 on 11 and RTX."""
    if settings.weakly_typed:
        return 0
    return 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)


def allow_precision(trt: ModuleType, config: Any, settings: BuildSettings) -> None:
    """Allow what a weakly typed network may run in; a strongly typed one needs no leave."""
    if not settings.weakly_typed or settings.precision == "fp32":
        return
    config.set_flag(trt.BuilderFlag.FP16)
    if settings.int8:
        config.set_flag(trt.BuilderFlag.INT8)
