"""What a build starts from: a bundled model, a checkpoint or an ONNX file, as an FP32 graph."""

from __future__ import annotations

import hashlib
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from engines.failures import Refused
from engines.spec import ModelSpec, load_spec

if TYPE_CHECKING:
    import onnx

    from export.build_engine import Options
    from export.parity import Parity

MAX_BYTES = 512 * 2**20  # Xception-71 in FP32, the largest network here, has 170 MB
MAX_PIXELS = 2**26  # of a frame: 8192x8192


@dataclass(frozen=True)
class Origin:
    """The file a build starts from and the spec beside it; `digest` is the file's sha256, with that
    of an ONNX file's external weights."""

    path: Path
    digest: str
    spec: ModelSpec


@dataclass(frozen=True)
class Source:
    """An FP32 graph; `parity` compares it with PyTorch, None where the graph is all there is."""

    graph: onnx.ModelProto
    parity: Parity | None


def find_origin(options: Options) -> Origin:
    """The file that the options name, and its spec at the size that they ask for; a missing file
    or spec, or one beyond all reason, raises `Refused`."""
    if options.onnx is not None:
        path = options.onnx
    elif options.checkpoint is not None:
        path = options.checkpoint
    else:
        from train.checkpoint import DEFAULT, bundled

        path = bundled(options.model or DEFAULT)
    try:
        require_size(path)
        if path.suffix == ".onnx":
            from export.external_data import digest as digest_of

            digest = digest_of(path, MAX_BYTES)
        else:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise Refused(
            f"{path} cannot be read ({error.strerror}): check the path, or build the bundled model "
            "with neither --checkpoint nor --onnx"
        ) from None
    spec = load_spec(path.with_suffix(".json"))
    if options.input_size is not None:
        spec = replace(spec, input_size=options.input_size[1])
    height, width = spec.input_size
    if height * width > MAX_PIXELS:
        raise Refused(f"{path.stem} is for frames of {height}x{width}: that is no camera's size")
    return Origin(path, digest, spec)


def require_size(path: Path) -> None:
    """Raise `Refused` for a file that is too large to be read whole, or has no end: a named pipe
    would be waited for, and /dev/zero fill the memory."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise Refused(f"{path} is no plain file: check the path")
    size = status.st_size
    if size > MAX_BYTES:
        raise Refused(
            f"{path} has {size / 2**20:,.0f} MiB, the limit is {MAX_BYTES // 2**20}: a DeepLab has "
            "less; is it the right file?"
        )


def read_graph(origin: Origin) -> onnx.ModelProto | None:
    """The graph of an ONNX file, checked; None of a checkpoint."""
    if origin.path.suffix != ".onnx":
        return None
    from export.intake import read_untrusted

    return read_untrusted(origin.path, origin.spec)


def export_checkpoint(origin: Origin, frames: list[NDArray[np.uint8]]) -> Source:
    """Export a checkpoint and compare the graph with PyTorch on `frames`."""
    from export.graph import export_graph
    from export.parity import compare
    from train.checkpoint import load_model
    from train.deployable import Deployable

    network, _ = load_model(origin.path)
    model = Deployable(network, origin.spec).eval()
    graph = export_graph(model, origin.spec)
    return Source(graph, compare(graph, model, frames))
