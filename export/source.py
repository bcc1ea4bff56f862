"""What a build starts from: a bundled model, a checkpoint or an ONNX file, as an FP32 graph."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from engines.spec import ModelSpec, load_spec

if TYPE_CHECKING:
    import onnx

    from export.build_engine import Options
    from export.parity import Parity


@dataclass(frozen=True)
class Source:
    """An FP32 graph with its spec; `digest` is the sha256 of the file that it came from.

    `parity` compares the graph with PyTorch; None where the graph is all there is.
    """

    path: Path
    digest: str
    spec: ModelSpec
    graph: onnx.ModelProto
    parity: Parity | None

    @property
    def ranges(self) -> Path:
        """Where calibration ranges that ship with this source stand."""
        return self.path.with_suffix(".ranges.json")


def source_spec(options: Options) -> tuple[Path, ModelSpec]:
    """The source file that the options name, and the spec beside it."""
    if options.onnx is not None:
        path = options.onnx
    elif options.checkpoint is not None:
        path = options.checkpoint
    else:
        from train.checkpoint import DEFAULT, bundled

        path = bundled(options.model or DEFAULT)
    return path, load_spec(path.with_suffix(".json"))


def load_source(path: Path, spec: ModelSpec, frames: list[NDArray[np.uint8]]) -> Source:
    """Read an ONNX file, or export a checkpoint and compare the graph with PyTorch on `frames`."""
    if path.suffix == ".onnx":
        from export.intake import read_untrusted

        return Source(path, sha256(path), spec, read_untrusted(path, spec), None)
    from export.graph import export_graph
    from export.parity import compare
    from train.checkpoint import load_model
    from train.deployable import Deployable

    network, spec = load_model(path)
    model = Deployable(network, spec).eval()
    graph = export_graph(model, spec)
    return Source(path, sha256(path), spec, graph, compare(graph, model, frames))


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
