"""Is the exported graph the network? PyTorch against onnxruntime on real frames."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from calibration.graphs.execution import load
from engines.failures import GateFailed
from engines.labels import upsample_argmax
from export.contract import INPUT, OUTPUT

if TYPE_CHECKING:
    from torch import nn

MAX_ABS = 1e-3
MIN_AGREEMENT = 0.9999


@dataclass(frozen=True)
class Parity:
    """How far two versions of a network are apart.

    `onnx_max_abs` is over all logits, `label_agreement` the share of equal labels at frame size.
    """

    onnx_max_abs: float
    label_agreement: float
    images: int

    def to_json(self) -> dict[str, float]:
        """The numbers by name."""
        return dataclasses.asdict(self)


def compare(graph: ModelProto, model: nn.Module, frames: Iterable[NDArray[np.uint8]]) -> Parity:
    """`measure`, and raise `GateFailed` beyond 1e-3 or below 99.99 % of the labels."""
    parity = measure(graph, model, frames)
    # Written so that a NaN fails.
    if not (parity.onnx_max_abs <= MAX_ABS and parity.label_agreement >= MIN_AGREEMENT):
        raise GateFailed(
            f"the exported graph is not the network: logits differ by up to "
            f"{parity.onnx_max_abs:.2g} (limit {MAX_ABS:g}) and {parity.label_agreement:.4%} of "
            f"the labels are equal (limit {MIN_AGREEMENT:.2%}) on {parity.images} frames; the "
            "exporter of another version may get it right: pip install -U torch onnx onnxscript"
        )
    return parity


def measure(graph: ModelProto, model: nn.Module, frames: Iterable[NDArray[np.uint8]]) -> Parity:
    """Run a deployable module in PyTorch and a graph in onnxruntime on frames [H, W, 3]."""
    import torch

    session = load(graph)
    max_abs, equal, pixels, images = 0.0, 0, 0, 0
    for frame in frames:
        with torch.inference_mode():
            reference = model(torch.from_numpy(frame[None].copy())).numpy()
        (logits,) = session.run([OUTPUT], {INPUT: frame[None]})
        # np.maximum keeps a NaN, max() would lose it.
        max_abs = float(np.maximum(max_abs, np.abs(logits - reference).max()))
        labels = [upsample_argmax(x[0], frame.shape[:2]) for x in (logits, reference)]
        equal += int((labels[0] == labels[1]).sum())
        pixels += labels[0].size
        images += 1
    if images == 0:
        raise ValueError("parity needs at least one frame")
    return Parity(max_abs, equal / pixels, images)
