"""Which layers stay in float: the most accuracy for the fewest milliseconds.

Layers are ranked by what their quantization does (`sensitivity`), and become float in `stretches`,
greedily: next the one that saves most noise at the logits, given those before it (`noise_model`).
A second order counts noise saved per multiply-add. Of both, the first 1, 2, 3, 5, 8, ... stretches
are tried. From the cheapest graph within the budget, stretches and single convolutions then go back
to INT8, what saves least for its work first, as long as the budget holds; while no graph is within
it, more stretches become float. The model only orders what is tried: every candidate is a real
graph, scored on held-out frames and probed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto
from tqdm import tqdm

from calibration.fidelity import Reference
from calibration.graphs.placement import Flavour
from calibration.mixing.noise_model import NoiseModel
from calibration.mixing.probes import MILLISECONDS, SHARE, FloatShare, Probe, multiply_adds
from calibration.mixing.stretches import stretches
from calibration.mixing.trials import Build, Point, Trials, key_of, point_from_json
from calibration.sensitivity import LayerError, rank_layers
from engines.failures import GateFailed
from engines.machine import describe_machine
from scenes.dataset import spread

PREFIXES = (1, 2, 3, 5, 8, 13)
RANKING_FRAMES = 3  # a layer's error is a mean over many pixels of each
CANDIDATES = 20  # graphs that are measured at most, the two ends not counted


@dataclass(frozen=True)
class MixedSearch:
    """Everything that was tried, and the front: what nothing tried beats in drop and cost at once.

    `unit` is milliseconds, or the model of a cost where nothing was timed; `judged_by` says what
    drops are measured against; `layers` is the ranking, the worst first.
    """

    flavour: Flavour
    unit: str
    judged_by: str
    frames: int
    max_drop: float
    int8: Point
    whole: Point  # what one would ship without INT8: FP32, on TensorRT FP16
    tried: list[Point]
    front: list[Point]
    layers: list[LayerError]
    machine: dict[str, str | int | float]

    def to_json(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        return dataclasses.asdict(self)


def search_from_json(data: Mapping[str, Any]) -> MixedSearch:
    """The inverse of `MixedSearch.to_json`; other data raises ValueError, TypeError or KeyError."""
    ends = {name: point_from_json(data[name]) for name in ("int8", "whole")}
    points = {name: [point_from_json(item) for item in data[name]] for name in ("tried", "front")}
    layers = [LayerError(**item) for item in data["layers"]]
    return MixedSearch(**{**data, **ends, **points, "layers": layers})


def search(
    graph: ModelProto,
    build: Build,
    flavour: Flavour,
    reference: Reference,
    max_drop: float,
    probe: Probe | None = None,
    probe_name: str = "",
    whole: ModelProto | None = None,
    state: Path | None = None,
    candidates: int = CANDIDATES,
) -> MixedSearch:
    """Measure candidates between pure INT8, `build(())`, and float.

    Args:
        graph: The float graph whose layers `build` quantizes; where a scheme equalises, after that.
        build: Makes the finished graph in which the named nodes stay in float.
        flavour: Whose rules `build` follows.
        reference: FP32 on held-out frames, with labels if there are some.
        max_drop: The budget, in points of mIoU; it steers which candidates are tried.
        probe: Milliseconds of a graph; without one, the cost is a model and says so.
        probe_name: What the probe ran on; part of the key of the state.
        whole: What one would ship without INT8; `graph` by default.
        state: A file that lets an interrupted search go on.
        candidates: How many mixed graphs are measured at most.
    """
    int8 = build(())
    cost = probe or FloatShare(graph)
    key = key_of((graph, int8, whole or graph), reference, probe_name if probe else SHARE)
    trials = Trials(build, reference, cost, key, state)
    ends = trials.ends(int8, whole or graph)
    if not trials.layers:
        few = spread(len(reference), RANKING_FRAMES)
        frames = [reference.frames[index] for index in few]
        trials.keep_layers(rank_layers(graph, int8, frames))
    _try_all(
        trials,
        Moves(graph, NoiseModel(graph, int8, flavour, trials.layers), trials.layers),
        max_drop,
        candidates,
    )
    return MixedSearch(
        flavour=flavour,
        unit=MILLISECONDS if probe else SHARE,
        judged_by="FP32's masks" if reference.true_miou is None else "labels",
        frames=len(reference),
        max_drop=max_drop,
        int8=ends[0],
        whole=ends[1],
        tried=trials.tried,
        front=pareto_front([*trials.tried, ends[1]]),
        layers=trials.layers,
        machine=describe_machine("onnxruntime", "onnx", "numpy"),
    )


def _try_all(trials: Trials, moves: Moves, max_drop: float, candidates: int) -> None:
    def spent() -> int:
        return len(trials.tried) - 1  # the pure INT8 graph

    with tqdm(total=candidates, desc="mixed", unit="graph", disable=None) as progress:
        for kept in moves.prefixes():
            if spent() < candidates or trials.knows(kept):
                trials.point(moves.reasons(kept))
                progress.update(spent() - progress.n)
        while spent() < candidates:
            following = next_candidate(trials, moves, max_drop)
            if following is None:
                break
            trials.point(moves.reasons(following))
            progress.update(spent() - progress.n)


def next_candidate(trials: Trials, moves: Moves, max_drop: float) -> frozenset[str] | None:
    """A set next to the best one so far that was not tried; None when there is none."""
    within = [point for point in trials.tried if point.drop <= max_drop]
    if within:
        near = moves.smaller(frozenset(min(within, key=lambda point: point.cost).kept))
    else:
        near = moves.larger(frozenset(min(trials.tried, key=lambda point: point.drop).kept))
    return next((names for names in near if not trials.knows(names)), None)


class Moves:
    """Sets of convolutions in float, in the order in which they are worth trying.

    Args:
        graph: The float graph.
        noise: What a set saves.
        layers: The ranking of the layers.
    """

    def __init__(self, graph: ModelProto, noise: NoiseModel, layers: Sequence[LayerError]) -> None:
        self._noise, self._work = noise, multiply_adds(graph)
        self._errors = {row.name: row for row in layers}
        self._stretches = [frozenset(names) for names in stretches(graph, noise.names)]

    def prefixes(self) -> Iterator[frozenset[str]]:
        """The sets of stretches that are tried first, small ones before large ones."""
        orders = self._greedy(per_work=False), self._greedy(per_work=True)
        for count in PREFIXES:
            for order in orders:
                if count <= len(order):
                    yield order[count - 1]

    def larger(self, kept: frozenset[str]) -> list[frozenset[str]]:
        """One stretch more in float, what saves most first."""
        return sorted((kept | more for more in self._stretches), key=self._noise.saved)[::-1]

    def smaller(self, kept: frozenset[str]) -> list[frozenset[str]]:
        """A stretch or a convolution less in float, the least noise for the work first."""
        less = [kept & names for names in (*self._stretches, *(frozenset([n]) for n in kept))]
        saved = self._noise.saved(kept)

        def density(names: frozenset[str]) -> float:
            return (saved - self._noise.saved(kept - names)) / self._work_of(names)

        return [kept - names for names in sorted(filter(None, less), key=density)]

    def reasons(self, names: frozenset[str]) -> dict[str, str]:
        """Node -> why it stays in float, in the order of the ranking."""
        rows = [row for name, row in self._errors.items() if name in names]
        return {
            row.name: f"{row.kind}: quantized alone, it leaves the logits {row.logits_db:.1f} dB"
            for row in rows
        }

    def _greedy(self, per_work: bool) -> list[frozenset[str]]:
        """Growing sets: each adds the stretch that is worth most beside those before it."""
        sets, left = [frozenset[str]()], list(self._stretches)
        while left:
            kept = sets[-1]
            saved = self._noise.saved(kept)
            gains = [
                (self._noise.saved(kept | more) - saved) / (self._work_of(more) if per_work else 1)
                for more in left
            ]
            sets.append(kept | left.pop(int(np.argmax(gains))))
        return sets[1:]

    def _work_of(self, names: Collection[str]) -> int:
        return sum(self._work[name] for name in names)


def pareto_front(points: Sequence[Point]) -> list[Point]:
    """The points that no other beats, the cheapest first; what gains mIoU by luck counts as 0."""
    front: list[Point] = []
    for point in sorted(points, key=lambda p: (p.cost, max(p.drop, 0.0), len(p.kept))):
        if not front or max(point.drop, 0.0) < max(front[-1].drop, 0.0):
            front.append(point)
    return front


def pick(front: Sequence[Point], max_drop: float) -> Point:
    """The cheapest INT8 or mixed graph within the budget, else `GateFailed` with what was reached.

    Where the float graph is cheaper than all mixed ones within it, that is a failure too.
    """
    reduced = [point for point in front if point.kind != "float"]
    within = [point for point in reduced if point.drop <= max_drop]
    if within:
        return min(within, key=lambda point: point.cost)
    if not reduced:
        raise GateFailed(
            "the float graph is cheaper here than every INT8 one, pure or mixed: build with --fp16 "
            "for TensorRT or --fp32 for the CPU"
        )
    best = min(reduced, key=lambda point: point.drop)
    raise GateFailed(
        f"no mixed graph that is worth its cost keeps the drop within {max_drop:g} points: the "
        f"nearest loses {best.drop:.2f} with {len(best.kept)} convolutions in float; raise "
        "--max-drop, or build with --fp16 for TensorRT or --fp32 for the CPU"
    )
