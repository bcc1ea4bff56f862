"""The search for layers to keep in float: against all subsets, resumed, and at its limits."""

from __future__ import annotations

import json
from collections.abc import Collection
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto

from calibration.fidelity import Fidelity, Reference
from calibration.graphs.placement import Flavour, float_nodes
from calibration.graphs.qdq import quantize
from calibration.graphs.wiring import quantized_convolutions
from calibration.mixed import MixedSearch, pareto_front, pick, search
from calibration.mixing.noise_model import NoiseModel
from calibration.mixing.probes import SHARE, CpuProbe, FloatShare, multiply_adds
from calibration.mixing.stretches import stretches
from calibration.mixing.trials import Kind, Point, Trials, drop_of, key_of
from calibration.ranges.observe import observe, quantizable
from calibration.sensitivity import LayerError, rank_layers
from calibration.sqnr import decibel
from engines.failures import GateFailed, Refused
from engines.spec import ModelSpec

Frames = list[NDArray[np.uint8]]
FLAVOURS: tuple[Flavour, ...] = ("u8", "s8")
COARSE = "atrous/Clip"  # a range far too wide is put here: one layer that clearly hurts
BUDGET = 25.0  # points; masks of random weights lose 17 to good INT8, and 66 to this range


class Builder:
    """Makes mixed s8 graphs of the miniature with one bad range, and counts them."""

    def __init__(self, graph: ModelProto, frames: Frames) -> None:
        self.graph = graph
        self.ranges = observe(graph, frames) | {COARSE: (-200.0, 200.0)}
        self.built: list[frozenset[str]] = []

    def __call__(self, exclude: Collection[str]) -> ModelProto:
        self.built.append(frozenset(exclude))
        return quantize(self.graph, self.ranges, "s8", exclude)


class FakeProbe:
    """Milliseconds as if float took four times as long, at a speed of the machine."""

    def __init__(self, graph: ModelProto, slowness: float = 1) -> None:
        self.share, self.slowness, self.calls = FloatShare(graph), slowness, 0

    def __call__(self, graph: ModelProto) -> float:
        self.calls += 1
        return self.slowness * (10 + 30 * self.share(graph))


@pytest.fixture(scope="module")
def builder(miniature: ModelProto, frames: Frames) -> Builder:
    return Builder(miniature, frames[:4])


@pytest.fixture(scope="module")
def reference(miniature: ModelProto, frames: Frames) -> Reference:
    return Reference(miniature, frames[4:6])


@pytest.fixture(scope="module")
def found(miniature: ModelProto, builder: Builder, reference: Reference) -> MixedSearch:
    return search(
        miniature, builder, "s8", reference, BUDGET, FakeProbe(miniature), "fake", candidates=10
    )


@pytest.fixture
def ranked(found: MixedSearch, monkeypatch: pytest.MonkeyPatch) -> None:
    """The layers' ranking from another search of the same graphs: it takes most of the time."""
    monkeypatch.setattr("calibration.mixed.rank_layers", lambda *_: found.layers)


def test_the_layer_that_hurts_stays_in_float(found: MixedSearch) -> None:
    chosen = pick(found.front, BUDGET)
    assert found.int8.drop > 2 * BUDGET
    assert chosen.drop <= BUDGET
    # The bad range lies on what `atrous` gives and `linear` reads: one of its readers must go.
    assert "linear/Conv" in chosen.kept
    assert chosen.cost < found.whole.cost


def test_the_search_names_its_terms_and_measures_no_more_than_it_may(found: MixedSearch) -> None:
    assert (found.unit, found.judged_by, found.frames) == ("ms", "FP32's masks", 2)
    assert len(found.tried) <= 10 + 1
    assert found.tried[0] == found.int8
    assert all("the logits" in reason for point in found.tried for reason in point.kept.values())


def test_no_pair_of_convolutions_does_better(
    found: MixedSearch, miniature: ModelProto, builder: Builder, reference: Reference
) -> None:
    """The slow twin: every way to keep one or two of the four convolutions around the bad range."""
    chosen, probe = pick(found.front, BUDGET), FakeProbe(miniature)
    near = ("expand/Conv", "atrous/Conv", "linear/Conv", "branch/Conv")
    costs = []
    for names in [*combinations(near, 1), *combinations(near, 2)]:
        graph = builder(names)
        if drop_of(reference, reference.score(graph)) <= BUDGET:
            costs.append(probe(graph))
    assert chosen.cost <= min(costs)


def test_the_front_is_what_nothing_beats(found: MixedSearch) -> None:
    for point in found.front:
        better = [
            p
            for p in (*found.tried, found.whole)
            if p.cost <= point.cost and max(p.drop, 0) < max(point.drop, 0)
        ]
        assert better == []
    costs = [point.cost for point in found.front]
    assert costs == sorted(costs)


def test_json_holds_everything(found: MixedSearch) -> None:
    data = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert len(data["tried"]) == len(found.tried)
    assert data["layers"][0]["name"] == found.layers[0].name


@pytest.mark.usefixtures("ranked")
def test_an_interrupted_search_goes_on(
    miniature: ModelProto, builder: Builder, reference: Reference, tmp_path: Path
) -> None:
    state = tmp_path / "mixed.json"

    def run(candidates: int, slowness: float = 1) -> tuple[MixedSearch, int]:
        before = len(builder.built)
        probe = FakeProbe(miniature, slowness)
        result = search(
            miniature,
            builder,
            "s8",
            reference,
            BUDGET,
            probe,
            "fake",
            None,
            state,
            candidates=candidates,
        )
        return result, len(builder.built) - before - 1  # each run builds pure INT8 for its key

    first, built = run(3)
    assert built == 3
    again, built = run(3)
    assert built == 0
    assert again.tried == first.tried
    # Three times as slow: the costs of this run are put on the first one's scale.
    longer, built = run(5, slowness=3)
    assert built == 2
    assert longer.tried[: len(first.tried)] == first.tried
    assert longer.whole.cost == pytest.approx(first.whole.cost)


def test_every_input_is_part_of_the_key(
    miniature: ModelProto, builder: Builder, reference: Reference, frames: Frames
) -> None:
    graphs, others = (miniature, builder(())), (miniature, builder(("linear/Conv",)))
    truths = [frame[..., 0] % 5 for frame in frames[4:6]]
    changed = [
        key_of(graphs, reference, "fake"),
        key_of(others, reference, "fake"),
        key_of(graphs, reference, "another device"),
        key_of(graphs, Reference(miniature, frames[6:8]), "fake"),
        key_of(graphs, Reference(miniature, frames[4:6], truths), "fake"),
    ]
    assert len(set(changed)) == len(changed)
    assert key_of(graphs, Reference(miniature, frames[4:6]), "fake") == changed[0]


def test_another_key_starts_anew_and_a_damaged_state_is_refused(
    miniature: ModelProto, builder: Builder, reference: Reference, tmp_path: Path
) -> None:
    state = tmp_path / "mixed.json"

    def trials(key: str) -> Trials:
        return Trials(builder, reference, FakeProbe(miniature), key, state)

    trials("a").point({"linear/Conv": "why"})
    assert [point.kept for point in trials("a").tried] == [{"linear/Conv": "why"}]
    assert trials("b").tried == []
    state.write_text("{}")
    with pytest.raises(Refused, match="delete it"):
        trials("a")


@pytest.mark.usefixtures("ranked")
def test_without_a_probe_the_cost_is_a_share(
    miniature: ModelProto, builder: Builder, reference: Reference
) -> None:
    result = search(miniature, builder, "s8", reference, BUDGET, candidates=1)
    assert result.unit == SHARE
    assert 0 < result.int8.cost < result.tried[1].cost < result.whole.cost == 1


@pytest.mark.usefixtures("ranked")
def test_labels_make_drops_real(miniature: ModelProto, builder: Builder, frames: Frames) -> None:
    truths = [np.full(frame.shape[:2], 1, np.uint8) for frame in frames[4:6]]
    reference = Reference(miniature, frames[4:6], truths)
    result = search(miniature, builder, "s8", reference, BUDGET, candidates=1)
    assert result.judged_by == "labels"
    score = result.int8.fidelity.true_miou
    assert score is not None
    assert reference.true_miou is not None
    assert result.int8.drop == pytest.approx(reference.true_miou - score)


def point(kind: Kind, drop: float, cost: float) -> Point:
    return Point(kind, {f"{drop}": ""} if kind == "mixed" else {}, drop, cost, Fidelity(0, 0, 0))


def test_pick_takes_the_cheapest_within_the_budget() -> None:
    points = [point("int8", 1, 10), point("mixed", 0.4, 12), point("mixed", 0.2, 15)]
    front = pareto_front([*points, point("mixed", 0.4, 14), point("float", 0, 30)])
    assert [p.cost for p in front] == [10, 12, 15, 30]
    assert pick(front, 0.5) is points[1]
    assert pick(front, 0.3) is points[2]
    assert pick(front, 1.0) is points[0]
    with pytest.raises(GateFailed, match=r"nearest loses 0\.20 with 1 conv"):
        pick(front, 0.1)


def test_what_float_beats_is_never_picked() -> None:
    front = pareto_front([point("int8", 1, 40), point("mixed", 0.2, 45), point("float", 0, 30)])
    with pytest.raises(GateFailed, match="float graph is cheaper"):
        pick(front, 2.0)


def test_gains_by_luck_buy_nothing() -> None:
    cheap, lucky = point("int8", -0.1, 10), point("mixed", -0.3, 12)
    assert pareto_front([cheap, lucky, point("float", 0, 30)]) == [cheap]


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_the_noise_model_predicts_what_is_measured(
    miniature: ModelProto, reference: Reference, frames: Frames, flavour: Flavour
) -> None:
    ranges = observe(miniature, frames[:4])
    int8 = quantize(miniature, ranges, flavour)
    model = NoiseModel(miniature, int8, flavour, rank_layers(miniature, int8, frames[4:6]))
    start = power(reference, int8)
    for kept in (("expand/Conv", "atrous/Conv", "linear/Conv"), ("wide/Conv",)):
        left = power(reference, quantize(miniature, ranges, flavour, kept))
        assert decibel(start - model.saved(kept), left) == pytest.approx(0, abs=2)
    assert model.saved(()) == 0


def power(reference: Reference, graph: ModelProto) -> float:
    """The logits' noise power as a share of theirs."""
    return float(10 ** (-reference.score(graph).sqnr_db / 10))


def test_a_rounding_is_saved_when_nobody_asks_for_it(miniature: ModelProto) -> None:
    """`narrow` is read by the residual Add and by `expand`, its maker is the third on the CPU."""
    ranges = dict.fromkeys(quantizable(miniature), (-6.0, 6.0))
    errors = [
        LayerError(name, "pointwise", 1, 30, 20 if name == "narrow/Conv" else 90, 0, 0.25)
        for name in multiply_adds(miniature)
    ]
    u8, s8 = (
        NoiseModel(miniature, quantize(miniature, ranges, flavour), flavour, errors)
        for flavour in FLAVOURS
    )
    assert s8.saved({"expand/Conv"}) == pytest.approx(0.0075, rel=1e-5)
    assert s8.saved({"narrow/Conv"}) == pytest.approx(0.0025, rel=1e-5)
    assert u8.saved({"expand/Conv", "narrow/Conv"}) == pytest.approx(0.0025, rel=1e-5)


def test_stretches_end_where_tensors_branch(miniature: ModelProto) -> None:
    names = set(multiply_adds(miniature)) - {"stem/Conv"}
    found = stretches(miniature, names)
    assert ("depth/Conv", "point/Conv") in found
    assert ("wide/Conv", "shrink/Conv", "narrow/Conv") in found
    assert ("expand/Conv", "atrous/Conv", "linear/Conv") in found
    assert ("refine/Conv", "classifier/Conv") in found
    assert sorted(name for stretch in found for name in stretch) == sorted(names)


def test_multiply_adds_and_the_share_in_float(miniature: ModelProto) -> None:
    counts = multiply_adds(miniature)
    assert counts["stem/Conv"] == 16 * 3 * 9 * 16 * 24
    assert counts["shrink/Conv"] == 48 * 9 * 4 * 6
    assert FloatShare(miniature)(miniature) == 1


def test_what_placement_keeps_counts_as_float(miniature: ModelProto, builder: Builder) -> None:
    graph = builder(())
    kept = float_nodes(miniature, "s8")
    counts = multiply_adds(miniature)
    assert set(quantized_convolutions(graph)) == counts.keys() - kept.keys()
    share = sum(counts.get(name, 0) for name in kept) / sum(counts.values())
    assert FloatShare(miniature)(graph) == pytest.approx(share)


def test_the_cpu_probe_gives_milliseconds(
    miniature: ModelProto, builder: Builder, frames: Frames
) -> None:
    spec = ModelSpec(
        name="miniature",
        architecture="miniature",
        classes=tuple("abcde"),
        palette=((0, 0, 0),) * 5,
        input_size=(32, 48),
        mean=(0.5,) * 3,
        std=(0.5,) * 3,
    )
    with CpuProbe(builder(()), spec, frames[0], rounds=3) as probe:
        assert probe(miniature) > 0
