"""Measures the rows of docs/results.md that are missing or stale, one JSON file each.

All rows of one model and output stride share their forward passes and are written together; an
interrupted measurement goes on with the next such group.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from crf.dense_crf import MILD
from crf.refinement import Refinement
from engines.spec import CrfParams, ModelSpec
from scenes.dataset import Colour, Dataset, Scene
from scenes.scores import Summary
from train.checkpoint import bundled, load_model
from train.cost import Images, cost
from train.evaluation import check_classes, predict_with, score_all
from train.results_heads import head_checkpoint, is_trained, training_of, trunk_checkpoint
from train.results_rows import HEADS, REFERENCE, STRATEGIES, V1_CRF, Record, Row


@dataclass(frozen=True)
class Source:
    """A checkpoint to measure; `heads` is the folder that it is from, None for the reference."""

    model: str
    path: Path
    heads: Path | None = None

    @cached_property
    def sha256(self) -> str:
        """Of the weights' file."""
        return digest(self.path)

    def provenance(self) -> tuple[str, dict[str, str]]:
        """The trunk's sha256 and the training's settings; empty for the reference."""
        if self.heads is None:
            return "", {}
        return digest(trunk_checkpoint(self.heads)), training_of(self.heads, self.model)


class Thinned:
    """Every `step`-th scene of a dataset."""

    def __init__(self, dataset: Dataset, step: int) -> None:
        self._dataset, self._indices = dataset, range(0, len(dataset), step)
        self.classes: tuple[str, ...] = dataset.classes
        self.palette: tuple[Colour, ...] = dataset.palette

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Scene:
        return self._dataset[self._indices[index]]

    def __iter__(self) -> Iterator[Scene]:
        return (self[index] for index in range(len(self)))


def digest(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def sources(heads: Path | None) -> dict[str, Source]:
    """The reference, and those heads that have been trained in a folder."""
    found = {REFERENCE: Source(REFERENCE, bundled(REFERENCE))}
    for name in HEADS if heads else ():
        assert heads is not None
        if is_trained(heads, name):
            found[name] = Source(name, head_checkpoint(heads, name), heads)
    return found


def stale(records: Iterable[Record], known: dict[str, Source]) -> list[Row]:
    """Rows measured on other weights than those at hand."""
    return [
        record.row
        for record in records
        if record.row.model in known and record.sha256 != known[record.row.model].sha256
    ]


def measure_missing(
    wanted: list[Row],
    records: dict[Row, Record],
    known: dict[str, Source],
    dataset: Dataset,
    about: tuple[str, str],
    every: int,
    folder: Path,
) -> None:
    """Write those `wanted` rows of `known` models that are missing, stale, or of fewer frames than
    asked for.

    `about` names the data and the split; every `every`-th frame is scored.
    """
    thinned = Thinned(dataset, every)
    outdated = set(stale(records.values(), known))
    due = [
        row
        for row in wanted
        if row.model in known
        and (row not in records or row in outdated or records[row].scores.images < len(thinned))
    ]
    for model, stride in dict.fromkeys((row.model, row.output_stride) for row in due):
        rows = [row for row in due if (row.model, row.output_stride) == (model, stride)]
        print(f"measuring {model} at output stride {stride}: {len(rows)} rows", flush=True)
        for record in measure(known[model], rows, thinned, len(dataset), about):
            record.write(folder)


def measure(
    source: Source, rows: list[Row], dataset: Dataset, in_split: int, about: tuple[str, str]
) -> list[Record]:
    """Score all rows of one model and output stride in one go through the frames."""
    network, spec = load_model(source.path, rows[0].output_stride)
    check_classes(spec, dataset, about[0])
    crfs = [crf_of(spec, row.crf) for row in rows]
    ways = [
        (STRATEGIES[row.strategy], Refinement(len(spec.classes), crf, "exact") if crf else None)
        for row, crf in zip(rows, crfs, strict=True)
    ]
    summaries = score_all(predict_with(network, spec), spec, dataset, ways)

    def record(row: Row, crf: CrfParams | None, scores: Summary) -> Record:
        images = Images(spec.input_size, len(spec.classes))
        trunk, training = source.provenance()
        return Record(
            row=row,
            sha256=source.sha256,
            trunk_sha256=trunk,
            training=training,
            data=about[0],
            split=about[1],
            images_in_split=in_split,
            crf=crf,
            cost=cost(spec.architecture, row.output_stride, images, STRATEGIES[row.strategy]),
            scores=scores,
        )

    return [record(*parts) for parts in zip(rows, crfs, summaries, strict=True)]


def crf_of(spec: ModelSpec, name: str) -> CrfParams | None:
    """The settings that one of `CRFS` stands for."""
    return {"off": None, "own": spec.crf or MILD, "v1": V1_CRF}[name]
