"""Frame by frame through every graph of a bundle; what is kept are sums, so memory stays flat."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from onnx import ModelProto
from tqdm import tqdm

from engines.bundle import Bundle
from export.contract import OUTPUT
from export.verification.backends import Backend, on_onnxruntime
from export.verification.columns import (
    Column,
    Frame,
    GraphColumn,
    OnnxReference,
    Reference,
    Results,
)
from export.verification.difference import Error
from export.verification.graphs import Candidate, fp32_graph
from export.verification.oracle import OracleError, described_by, oracle_errors
from export.verification.places import Place, find_places
from export.verification.untouched import Untouched
from export.verification.windows import Convolution

# of a layer that could not be run by itself
UNKNOWN = Error(None, None, None, 0.0, None, None, finite=True)
ORDER = ("fp32", "fp16", "fp16_torch")  # then what is quantized, as the bundle has it


@dataclass(frozen=True)
class LayerRow:
    """One layer in one precision, over all frames.

    `sqnr_db`, `cosine`, `max_abs` and `border_sqnr_db` are of what has added up to the layer's
    result, `own_...` of the layer alone. None is what cannot be told: the border of a layer without
    padding, anything of values that are not finite. `own_slope` is how much of the reference the
    layer's own difference follows: 0.05 if weights are 5 % too large, 0 for rounding.
    """

    name: str
    kind: str
    rate: int
    precision: str
    sqnr_db: float | None
    cosine: float | None
    max_abs: float | None
    range: float
    border_sqnr_db: float | None
    border_share: float
    own_sqnr_db: float | None
    own_slope: float | None
    own_border_sqnr_db: float | None
    finite: bool
    block: str
    separable: bool


@dataclass(frozen=True)
class Measured:
    """Everything about single layers; `unseen` are those that the reference has no result of."""

    rows: list[LayerRow]
    oracle: list[OracleError]
    reference: str
    unseen: list[str]


@dataclass(frozen=True)
class Setup:
    """What graphs are held against; `subject` has what the oracle checks: how each convolution is
    meant, and what the FP32 graph made of it."""

    name: str
    reference: Reference
    places: list[Place]
    columns: list[Column]
    subject: Callable[[Results], tuple[Mapping[str, Convolution], Results]]


def measure(
    bundle: Bundle,
    candidates: Sequence[Candidate],
    frames: Sequence[Frame],
    untouched: Sequence[Untouched] = (),
    target: str = "cpu",
    backend: Backend = on_onnxruntime,
) -> Measured:
    """Every layer of every graph on every frame, and `untouched` engines; the oracle on the first
    frame.

    With another target than the CPU its engines are tapped, too.
    """
    fp32 = fp32_graph(bundle)
    every = find_places(fp32)
    setup = _with_checkpoint(bundle, fp32, every, candidates) or _without_checkpoint(fp32, every)
    columns = setup.columns
    for candidate in tqdm(candidates, "opening graphs", unit="graph", disable=None, leave=False):
        columns.append(GraphColumn(candidate, setup.places))
        if target != "cpu" and candidate.runs_on(target):
            columns.append(GraphColumn(candidate, setup.places, target, backend))
    columns.sort(key=lambda c: ORDER.index(c.name) if c.name in ORDER else len(ORDER))
    oracle: list[OracleError] = []
    for frame in tqdm(frames, "verifying", unit="frame", disable=None):
        results = setup.reference.results(frame)
        for column in columns:
            column.add(frame, results)
        for engine in untouched:
            engine.add(frame, results[OUTPUT])
        oracle = oracle or oracle_errors(fp32, setup.places, *setup.subject(results))
    rows = [row for column in columns for row in rows_of(column, setup.places)]
    seen = {place.name for place in setup.places}
    unseen = [place.name for place in every if place.name not in seen]
    return Measured(rows, oracle, setup.name, unseen)


def _with_checkpoint(
    bundle: Bundle, fp32: ModelProto, every: list[Place], candidates: Sequence[Candidate]
) -> Setup | None:
    """PyTorch is the reference, and the exported graph one more column."""
    if bundle.manifest.find("checkpoint") is None:
        return None
    from export.verification.network import Fp32Column, HalfColumn, TorchReference, open_network

    network = open_network(bundle, every)
    places = [place for place in every if place.result in network.seen]
    exported = Fp32Column(fp32, network, places)
    columns: list[Column] = [exported]
    if any(candidate.name == "fp16" for candidate in candidates):
        columns.append(HalfColumn(network.half(places), places))
    return Setup(
        "PyTorch FP32",
        TorchReference(network),
        places,
        columns,
        lambda _results: (exported.convolutions, exported.found),
    )


def _without_checkpoint(fp32: ModelProto, places: list[Place]) -> Setup:
    """The FP32 graph is all there is to hold others against."""
    return Setup(
        "ONNX FP32",
        OnnxReference(fp32, places),
        places,
        [],
        lambda results: (described_by(fp32, places, results), results),
    )


def rows_of(column: Column, places: list[Place]) -> list[LayerRow]:
    """A column's errors as rows, in depth order."""
    return [_row(column, place) for place in places if column.whole[place.result].count]


def _row(column: Column, place: Place) -> LayerRow:
    whole, single = column.whole[place.result].error, column.own[place.result]
    own = single.error if single.count else UNKNOWN
    return LayerRow(
        name=place.name, kind=place.kind, rate=place.rate, precision=column.name,
        sqnr_db=whole.sqnr_db, cosine=whole.cosine, max_abs=whole.max_abs, range=whole.range,
        border_sqnr_db=whole.border_db, border_share=place.border_share,
        own_sqnr_db=own.sqnr_db, own_slope=own.slope,
        own_border_sqnr_db=own.border_db,
        finite=whole.finite and own.finite,
        block=place.block, separable=place.separable,
    )  # fmt: skip
