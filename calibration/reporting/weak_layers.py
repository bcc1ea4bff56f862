"""The layers that INT8 hurts most, for the report: each shipped INT8 graph's, worst first."""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from calibration.graphs.placement import FLAVOURS, Flavour
from calibration.repairs.bias_correction import add_biases
from calibration.repairs.equalise import apply_factors
from calibration.reporting.candidates import GRAPHS, fp32_of
from calibration.scheme import Scheme
from calibration.sensitivity import LayerError, rank_layers
from engines.bundle import Bundle
from engines.failures import Refused
from engines.preprocess import fit_frame
from engines.ranges import Ranges
from scenes.dataset import Dataset, spread

WORST = 10  # layers shown


@dataclass(frozen=True)
class Ranking:
    """The worst layers of one graph, worst first, and on how many frames they were found."""

    precision: str
    flavour: str
    target: str
    frames: int
    layers: list[LayerError]


def rank(bundle: Bundle, dataset: Dataset, count: int) -> tuple[list[Ranking], list[str]]:
    """Both flavours' INT8 graphs, on `count` frames spread over the dataset.

    Also says why a graph was not ranked, as one that belongs to another build: the rest of a
    report is minutes of measuring, and true without this.
    """
    size = bundle.spec.input_size
    frames = [fit_frame(dataset[i].frame, size) for i in spread(len(dataset), count)]
    rankings, skipped = [], []
    for flavour in FLAVOURS:
        file = bundle.manifest.find("onnx", precision="int8", flavour=flavour, target=None)
        if file is not None:
            graph = onnx.load_model_from_string(bundle.read(file))
            try:
                layers = rank_layers(float_graph(bundle, flavour), graph, frames)[:WORST]
            except Refused as error:
                skipped.append(f"layers of {file.name}: {error}")
                continue
            target, _ = GRAPHS["int8", flavour]
            rankings.append(Ranking("int8", flavour, target, len(frames), layers))
    return rankings, skipped


def float_graph(bundle: Bundle, flavour: Flavour) -> onnx.ModelProto:
    """The FP32 graph with the shipped scheme's channels, the same function: what was quantized.

    A correction of biases is left out: it belongs to the error that the quantized layers make.
    Absorption moves biases between layers, and its moves are recorded with the corrections.
    """
    graph = onnx.load_model_from_string(bundle.read(fp32_of(bundle)))
    file = bundle.manifest.find("ranges")
    if file is not None:
        ranges = Ranges.load(bundle.root / file.name)
        apply_factors(graph, ranges.factors)
        if Scheme.parse(ranges.key.method).absorb:
            add_biases(graph, ranges.biases.get(flavour, {}))
    return graph
