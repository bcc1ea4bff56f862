"""The graphs of a bundle that are verified, and what each is held against."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto

from calibration.reporting.candidates import fp32_of
from calibration.reporting.weak_layers import float_graph
from calibration.scheme import Scheme
from engines.bundle import Bundle
from engines.failures import UsageError
from engines.manifest import CPU_TARGETS, PRECISIONS, BundleFile
from engines.ranges import Ranges


@dataclass(frozen=True)
class Candidate:
    """A reduced graph of a bundle.

    Args:
        name: Its precision, flavour and target in one word: fp16, int8_u8, int8_s8_rtx.
        file: Where it stands.
        graph: The graph.
        origin: The float graph that it was made from, the same function as FP32's.
        factors: Node -> what equalisation divides the channels of its result by.
        moved: Whether absorption moved biases between layers, so that results inside are others.
    """

    name: str
    file: BundleFile
    graph: ModelProto
    origin: ModelProto
    factors: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    moved: bool = False

    @property
    def int8(self) -> bool:
        """Whether it is quantized."""
        return self.file.flavour is not None

    def runs_on(self, target: str) -> bool:
        """Whether a target runs this graph: TensorRT has no use for `u8`, CPUs none for `s8`."""
        foreign = "s8" if target in CPU_TARGETS else "u8"
        return self.file.flavour != foreign and self.file.target in (None, target)


def candidates(
    bundle: Bundle, precisions: Collection[str] = (), target: str = "cpu"
) -> tuple[list[Candidate], dict[str, str]]:
    """The reduced graphs of the precisions asked for (none: all), FP16 first.

    A graph that was made for another CPU target than `target` is left out.

    Also the names of graphs that are the same file as another, with that one's: a mixed build that
    needs nothing in float is its INT8 graph. A precision asked for that the bundle has not raises
    `UsageError`.
    """
    found: dict[str, Candidate] = {}
    copies: dict[str, str] = {}
    hashes: dict[str, str] = {}
    for file in onnx_files(bundle, precisions):
        name = name_of(file)
        if file.target in CPU_TARGETS and file.target != target:
            continue
        if file.sha256 in hashes:
            copies[name] = hashes[file.sha256]
        elif file.precision != "fp32":
            hashes[file.sha256] = name
            found[name] = candidate(bundle, name, file)
    return list(found.values()), copies


def onnx_files(bundle: Bundle, precisions: Collection[str] = ()) -> list[BundleFile]:
    """The ONNX graphs of these precisions (none: all), in the order of precisions."""
    files = [file for file in bundle.manifest.files if file.kind == "onnx"]
    for precision in precisions:
        if not any(file.precision == precision for file in files):
            bundle.graph(precision)  # says what there is, and how to build the one that is not
    chosen = [file for file in files if not precisions or file.precision in precisions]
    return sorted(chosen, key=lambda file: (PRECISIONS.index(str(file.precision)), file.name))


def name_of(file: BundleFile) -> str:
    """A graph in one word."""
    suffix = {None: "", "tensorrt-rtx": "_rtx"}.get(file.target, f"_{file.target}")
    return "_".join(filter(None, (file.precision, file.flavour))) + suffix


def candidate(bundle: Bundle, name: str, file: BundleFile) -> Candidate:
    """A graph with the float graph that it was made from."""
    graph = onnx.load_model_from_string(bundle.read(file))
    if file.flavour is None:
        return Candidate(name, file, graph, fp32_graph(bundle))
    if file.flavour not in ("u8", "s8"):
        raise UsageError(f"{file.name} has the flavour {file.flavour!r}: known are u8 and s8")
    ranges = bundle.manifest.find("ranges")
    origin = float_graph(bundle, "u8" if file.flavour == "u8" else "s8")
    if ranges is None:
        return Candidate(name, file, graph, origin)
    known = Ranges.load(bundle.root / ranges.name)
    factors = {node: np.asarray(f, np.float32) for node, f in known.factors.items()}
    return Candidate(name, file, graph, origin, factors, Scheme.parse(known.key.method).absorb)


def fp32_graph(bundle: Bundle) -> ModelProto:
    """The graph that all others are made from."""
    return onnx.load_model_from_string(bundle.read(fp32_of(bundle)))
