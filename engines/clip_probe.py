"""How many activations of the CPU's INT8 graph clip: every now and then a frame tells.

The graph of `calibration/graphs/clip_probe.py` is the engine's own with some inner codes as further
outputs. It takes the engine's place for every `EVERY`-th frame, so nothing runs twice.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.failures import MALFORMED, Refused
from engines.onnxruntime_session import load_graph
from engines.session import Session
from engines.wrapped_session import WrappedSession

METADATA = "deeplab.probe"  # the key in the graph's metadata; the value is JSON, see `Layer`
EVERY = 20  # frames: the bundled model's probe takes 1.35 times its time, 1.7 % in all; 33 MB


@dataclass(frozen=True)
class Layer:
    """One output of the probe: uint8 codes of a layer.

    `name` is the layer's module path, `edges` the codes that mean clipping (0, 255 or both),
    `expected` the share of the calibration's values outside the range.
    """

    name: str
    edges: tuple[int, ...]
    expected: float


@dataclass(frozen=True)
class Clip:
    """The share of a layer's values that a frame put at the edges, and calibration's share."""

    share: float
    expected: float


class ProbedSession(WrappedSession):
    """Runs `session`, and for every `EVERY`-th frame the probe, which reports what clipped.

    Args:
        session: Runs all other frames; it stays the caller's to close.
        graph: The probe; its logits are those of `session`.
        report: Gets layer name -> `Clip`, in the thread that runs the session.
    """

    def __init__(
        self, session: Session, graph: bytes, report: Callable[[Mapping[str, Clip]], None]
    ) -> None:
        super().__init__(session)
        self._probe = load_graph(graph, "probe")
        self.layers = read_layers(self._probe.get_modelmeta().custom_metadata_map)
        self._report = report
        self._count = 0

    def run(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Logits [N, C, h, w] of frames [N, H, W, 3]."""
        self._count += 1
        if self._count % EVERY:
            return self._session.run(frames)
        logits, *codes = self._probe.run(["logits", *self.layers], {"frames": frames})
        layers = zip(self.layers.values(), codes, strict=True)
        self._report({layer.name: clip(layer, values) for layer, values in layers})
        return np.asarray(logits, np.float32)

    def close(self) -> None:
        """Free the probe."""
        del self._probe


def clip(layer: Layer, codes: NDArray[np.uint8]) -> Clip:
    """How many of a layer's codes are at its edges."""
    at_edges = sum(int(np.count_nonzero(codes == edge)) for edge in layer.edges)
    return Clip(at_edges / codes.size, layer.expected)


def read_layers(metadata: Mapping[str, str]) -> dict[str, Layer]:
    """Output name -> layer, from a probe's metadata; `Refused` if it has none."""
    try:
        data: dict[str, dict[str, Any]] = json.loads(metadata[METADATA])
        return {
            output: Layer(item["name"], tuple(item["edges"]), float(item["expected"]))
            for output, item in data.items()
        }
    except MALFORMED as error:
        raise Refused(
            f"the bundle's probe is not valid ({error}): build the bundle again"
        ) from error
