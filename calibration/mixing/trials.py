"""Candidates of a mixed-precision search: each is built, scored and probed once, and kept on disk.

An interrupted search goes on where it stopped. What is on disk counts only under the same key: both
graphs, the frames and their labels, the probe, the processor and onnxruntime.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from onnx import ModelProto

from calibration.fidelity import Fidelity, Reference
from calibration.mixing.probes import Probe
from calibration.sensitivity import LayerError
from engines.atomic import write_text
from engines.failures import MALFORMED, Refused
from engines.machine import cpu_name, usable_cores

Build = Callable[[Collection[str]], ModelProto]  # nodes that stay in float -> the finished graph
Kind = Literal["int8", "mixed", "float"]
FORMAT = 1


@dataclass(frozen=True)
class Point:
    """One graph that was measured.

    `kept` are the convolutions that stay in float beyond those of the pure INT8 graph, each with
    the reason. `drop` is FP32's mIoU minus this one's, in points; `cost` is in the search's unit.
    """

    kind: Kind
    kept: dict[str, str]
    drop: float
    cost: float
    fidelity: Fidelity


class Trials:
    """Builds and measures candidates, or remembers them.

    Args:
        build: Makes the graph in which the given nodes stay in float.
        reference: FP32 on held-out frames. With labels, drops are real ones; without, they are
            what the mean IoU with FP32's masks loses, which is more.
        probe: What a graph costs.
        key: What numbers of an earlier run must have been measured under.
        state: The file in which they are kept, or None.
    """

    def __init__(
        self, build: Build, reference: Reference, probe: Probe, key: str, state: Path | None
    ) -> None:
        self._build, self._reference, self._probe = build, reference, probe
        self._key, self._path = key, state
        self.layers: list[LayerError] = []
        self._points: dict[frozenset[str], Point] = {}
        self._load()
        self._scale = 1.0

    def ends(self, int8: ModelProto, whole: ModelProto) -> tuple[Point, Point]:
        """The pure INT8 graph, and what one would ship without INT8.

        INT8 is probed in each run: what it costs now, against before, puts all costs of this run on
        the scale of the first one.
        """
        cost = self._probe(int8)
        known = self._points.get(frozenset())
        if known is not None:
            self._scale = known.cost / cost if cost else 1.0
        else:
            known = self._remember(self._measured("int8", int8, {}, cost))
        cost = self._scale * self._probe(whole)
        return known, Point("float", {}, 0.0, cost, self._reference.own)

    def point(self, kept: Mapping[str, str]) -> Point:
        """The graph in which `kept` (node -> reason) stay in float."""
        known = self._points.get(frozenset(kept))
        if known is not None:
            return known
        graph = self._build(tuple(kept))
        return self._remember(
            self._measured("mixed", graph, dict(kept), self._scale * self._probe(graph))
        )

    def knows(self, kept: Collection[str]) -> bool:
        """Whether this set was measured already."""
        return frozenset(kept) in self._points

    @property
    def tried(self) -> list[Point]:
        """Every point so far, in the order of measuring."""
        return list(self._points.values())

    def keep_layers(self, layers: list[LayerError]) -> None:
        """Store the ranking of the layers."""
        self.layers = layers
        self._save()

    def _measured(self, kind: Kind, graph: ModelProto, kept: dict[str, str], cost: float) -> Point:
        fidelity = self._reference.score(graph)
        return Point(kind, kept, drop_of(self._reference, fidelity), cost, fidelity)

    def _remember(self, point: Point) -> Point:
        self._points[frozenset(point.kept)] = point
        self._save()
        return point

    def _save(self) -> None:
        if self._path is not None:
            points = [dataclasses.asdict(point) for point in self._points.values()]
            layers = [dataclasses.asdict(layer) for layer in self.layers]
            data = {"key": self._key, "layers": layers, "points": points}
            write_text(self._path, json.dumps(data, indent=1) + "\n")

    def _load(self) -> None:
        if self._path is None or not self._path.is_file():
            return
        try:
            data = json.loads(self._path.read_text())
            if data["key"] == self._key:
                self.layers = [LayerError(**layer) for layer in data["layers"]]
                points = [point_from_json(item) for item in data["points"]]
                self._points = {frozenset(point.kept): point for point in points}
        except (OSError, *MALFORMED) as error:
            raise Refused(
                f"{self._path} is not the state of a search ({error}): delete it to start anew"
            ) from error


def point_from_json(data: Mapping[str, Any]) -> Point:
    """The inverse of `dataclasses.asdict`."""
    return Point(**{**data, "fidelity": Fidelity(**data["fidelity"])})


def drop_of(reference: Reference, fidelity: Fidelity) -> float:
    """Points of mIoU lost: against labels where the frames have some, else against FP32's masks."""
    if reference.true_miou is None or fidelity.true_miou is None:
        return 100 - fidelity.miou
    return reference.true_miou - fidelity.true_miou


def key_of(graphs: Collection[ModelProto], reference: Reference, probe: str) -> str:
    """A digest of everything that the numbers of a search depend on."""
    digest = hashlib.sha256()
    for graph in graphs:
        digest.update(hashlib.sha256(graph.SerializeToString(deterministic=True)).digest())
    version = importlib.metadata.version("onnxruntime")
    facts = (FORMAT, reference.digest(), probe, cpu_name(), usable_cores(), version)
    digest.update(json.dumps(facts).encode())
    return digest.hexdigest()
